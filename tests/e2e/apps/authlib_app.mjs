// `authlib_app.py` as the stories see it: the same methods as OpenidClientApp.

import path from 'node:path'
import { python } from '../lib/cache.mjs'
import { until } from '../lib/poll.mjs'
import { Program, freePort } from '../lib/process.mjs'

export class AuthlibApp {
  #program
  #log
  #secrets
  #port

  static async start({ secrets, log }) {
    return new AuthlibApp(await freePort(), secrets, log)
  }

  constructor(port, secrets, log) {
    this.#port = port
    this.#secrets = secrets
    this.#log = log
    this.url = `http://127.0.0.1:${port}`
    this.loginUrl = `${this.url}/login`
    this.redirectUri = `${this.url}/callback`
  }

  async configure({ issuer, client, scope }) {
    const settings = { port: this.#port, issuer, scope, client_id: client.client_id, client_secret: client.client_secret }
    this.#program = new Program('the Authlib app', python, [path.join(import.meta.dirname, 'authlib_app.py')], {
      env: { PATH: process.env.PATH, APP_SETTINGS: JSON.stringify(settings) },
      log: this.#log,
    })
    const listening = until('the Authlib app to listen', () => fetch(`${this.url}/held`).then((response) => response.ok, () => false))
    await this.#program.whileRunning(listening)
  }

  async held() {
    const { token = {}, claims } = await (await fetch(`${this.url}/held`)).json()
    this.#secrets.add('access token', token.access_token)
    this.#secrets.add('refresh token', token.refresh_token)
    this.#secrets.add('id token', token.id_token)
    return { claims, tokens: { access: token.access_token, refresh: token.refresh_token, scope: token.scope } }
  }

  userinfo() {
    return this.#ask('GET', 'userinfo')
  }

  xrpc(method, nsid, { query = {}, json } = {}) {
    return this.#ask('POST', 'xrpc', { method, nsid, query, json })
  }

  async refresh() {
    const refusal = await this.#ask('POST', 'refresh')
    return refusal.error && refusal
  }

  revoke() {
    return this.#ask('POST', 'revoke')
  }

  async #ask(method, route, json) {
    const response = await fetch(`${this.url}/${route}`, {
      method,
      headers: json && { 'content-type': 'application/json' },
      body: json && JSON.stringify(json),
    })
    if (!response.ok) throw new Error(`the Authlib app failed at ${route}; see ${this.#log}`)
    const answer = await response.json()
    await this.held() // notes new tokens as secrets
    return answer
  }

  async stop() {
    await this.#program?.stop()
  }
}
