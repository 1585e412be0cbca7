// An app that is a program of its own, as the stories see it: the same methods as OpenidClientApp. It gets
// its settings as JSON in APP_SETTINGS, signs people in at `/login` and `/callback`, and does over HTTP what
// the stories ask of it.

import { DEADLINE_MS, until } from '../lib/poll.mjs'
import { Program, freePort } from '../lib/process.mjs'

export class ProgramApp {
  #program
  #log
  #secrets
  #port

  static async start({ secrets, log }) {
    return new this(await freePort(), secrets, log)
  }

  constructor(port, secrets, log) {
    this.#port = port
    this.#secrets = secrets
    this.#log = log
    this.url = `http://127.0.0.1:${port}`
    this.loginUrl = `${this.url}/login`
    this.redirectUri = `${this.url}/callback`
  }

  /** The command that `settings` are for, with its arguments; a kind of app overrides it. */
  command = []
  /** How long it may take to listen. */
  startDeadlineMs = DEADLINE_MS

  /** Starts the program with `settings`, and the port that it is to listen at; `more` is for its environment. */
  async run(settings, more = {}) {
    const [command, ...args] = this.command
    const env = { PATH: process.env.PATH, APP_SETTINGS: JSON.stringify({ port: this.#port, ...settings }), ...more }
    this.#program = new Program(this.constructor.name, command, args, { env, log: this.#log })
    const answers = () => fetch(`${this.url}/held`).then((response) => response.ok, () => false)
    const listening = until(`${this.constructor.name} to listen`, answers, this.startDeadlineMs)
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
    if (!response.ok) throw new Error(`${this.constructor.name} failed at ${route}; see ${this.#log}`)
    const answer = await response.json()
    await this.held() // notes new tokens as secrets
    return answer
  }

  async stop() {
    await this.#program?.stop()
  }
}
