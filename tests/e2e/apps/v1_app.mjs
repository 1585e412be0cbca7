// An app of AIP v1, changed as docs/move-from-v1.md says: a form or a link leads to `/auth/atproto`, a code comes
// back to the destination, and its server exchanges it. Everything else goes by v1's paths and headers.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { refusedPage, signedInPage } from './pages.mjs'

export class V1App {
  #server
  #secrets
  #issuer
  #client
  #states = new Set()
  #tokens

  static async start({ secrets }) {
    const server = http.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new V1App(server, secrets)
  }

  constructor(server, secrets) {
    this.#server = server
    this.#secrets = secrets
    this.url = `http://127.0.0.1:${server.address().port}`
    this.loginUrl = `${this.url}/link`
    /** A page with the form that apps of v1 have. */
    this.formUrl = `${this.url}/form`
    this.redirectUri = `${this.url}/signed-in`
    server.on('request', (request, response) => this.#serve(request, response))
  }

  async configure({ issuer, client }) {
    this.#issuer = issuer
    this.#client = client
  }

  async #serve(request, response) {
    const url = new URL(request.url, this.url)
    response.setHeader('content-type', 'text/html')
    if (url.pathname === '/form') return response.end(this.#form())
    if (url.pathname === '/link') {
      const query = new URLSearchParams({ destination: this.redirectUri, state: this.#newState() })
      return response.writeHead(302, { location: `${this.#issuer}/auth/atproto?${query}` }).end()
    }
    if (url.pathname !== '/signed-in') return response.writeHead(404).end()
    try {
      response.end(signedInPage(await this.#exchange(url.searchParams)))
    } catch (error) {
      response.end(refusedPage(error.message))
    }
  }

  #newState() {
    const state = randomBytes(16).toString('hex')
    this.#states.add(state)
    return state
  }

  #form() {
    return `<!doctype html><html lang="en"><title>Example</title><form method="post" action="${this.#issuer}/auth/atproto">
      <input name="subject"><input type="hidden" name="destination" value="${this.redirectUri}">
      <input type="hidden" name="state" value="${this.#newState()}"><button>Sign in</button></form>`
  }

  /** The account whose code came. */
  async #exchange(query) {
    if (query.has('error')) throw new Error(query.get('error'))
    if (!this.#states.delete(query.get('state'))) throw new Error('not of this browser')
    const { client_id: id, client_secret: secret } = this.#client
    const answer = await fetch(`${this.#issuer}/oauth/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`)}` },
      body: new URLSearchParams({ grant_type: 'authorization_code', code: query.get('code'), redirect_uri: this.redirectUri }),
    })
    const tokens = await answer.json()
    if (!answer.ok) throw new Error(tokens.error)
    this.#tokens = { access: tokens.access_token, refresh: tokens.refresh_token }
    for (const secret of Object.values(this.#tokens)) this.#secrets.add('token of the app', secret)
    return (await this.call(this.#tokens.access, 'GET', '/internal/api/me')).body.did
  }

  /** The tokens of whoever signed in last. */
  held() {
    return this.#tokens
  }

  /** A call with an access token: `status`, `body`. */
  async call(access, method, path, { headers = {}, json } = {}) {
    const response = await fetch(`${this.#issuer}${path}`, {
      method,
      headers: { authorization: `Bearer ${access}`, ...(json && { 'content-type': 'application/json' }), ...headers },
      body: json && JSON.stringify(json),
      redirect: 'manual',
    })
    const text = await response.text()
    return { status: response.status, body: text && JSON.parse(text) }
  }

  async stop() {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
