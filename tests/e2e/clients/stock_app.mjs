// What the apps of this folder share: an origin of their own with `/login` and `/callback`, and calls with
// the access token, for which most libraries have nothing. Each app is told AIP_URL, CLIENT_ID and
// CLIENT_SECRET, under the names that its page in docs/clients uses.

import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { refusedPage, signedInPage } from '../apps/pages.mjs'

export class StockApp {
  #server
  #tokens = {}
  #claims
  secrets

  /** With `certificates` it is on https, under a name of the TLS lab. */
  static async start({ secrets, certificates }) {
    const app = new this()
    app.secrets = secrets
    await app.#listen(certificates)
    return app
  }

  async #listen(certificates) {
    const tls = certificates && { key: fs.readFileSync(certificates.key), cert: fs.readFileSync(certificates.chain) }
    this.#server = tls ? https.createServer(tls) : http.createServer()
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    const { port } = this.#server.address()
    this.url = tls ? `https://${this.hostName}:${port}` : `http://127.0.0.1:${port}`
    this.loginUrl = `${this.url}/login`
    this.redirectUri = `${this.url}${this.callbackPath}`
  }

  /** The name of its site, on https. */
  hostName = 'app.internal'

  /** Where the library wants the answer. */
  callbackPath = '/callback'

  /** Has the requests of browsers answered by `handler`. */
  answerWith(handler) {
    this.#server.on('request', handler)
  }

  /**
   * Has `/login` and the callback answered: `login(response)` sends the browser away, `redeem(url)` makes
   * tokens of what it came back with.
   */
  answerSignIns(login, redeem) {
    this.answerWith(async (request, response) => {
      const url = new URL(request.url, this.url)
      response.setHeader('content-type', 'text/html')
      try {
        if (url.pathname === '/login') response.writeHead(302, { location: await login() }).end()
        else if (url.pathname === this.callbackPath) response.end(signedInPage((await redeem(url)).sub))
        else response.writeHead(404).end()
      } catch (error) {
        response.end(refusedPage(error.error ?? error.stack))
      }
    })
  }

  /** Notes what the library got: the answer of the token endpoint, and the claims of the id_token. */
  keep(answer, claims = this.#claims) {
    this.#tokens = { access: answer.access_token, refresh: answer.refresh_token ?? this.#tokens.refresh, scope: answer.scope }
    this.#claims = claims
    for (const name of ['access_token', 'refresh_token', 'id_token']) this.secrets.add(name, answer[name])
    return claims
  }

  get tokens() {
    return this.#tokens
  }

  async held() {
    return { claims: this.#claims, tokens: this.#tokens }
  }

  userinfo() {
    return this.#call('GET', `${this.issuer}/oauth/userinfo`)
  }

  xrpc(method, nsid, { query = {}, json } = {}) {
    return this.#call(method, `${this.issuer}/xrpc/${nsid}?${new URLSearchParams(query)}`, json)
  }

  async #call(method, url, json) {
    const headers = { authorization: `Bearer ${this.#tokens.access}`, ...(json && { 'content-type': 'application/json' }) }
    const response = await fetch(url, { method, headers, body: json && JSON.stringify(json) })
    return { status: response.status, body: await response.json() }
  }

  async stop() {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
