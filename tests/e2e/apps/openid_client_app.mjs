// An app that signs people in with the stock npm package `openid-client`. Nothing in it knows AIP or
// the AT Protocol, but for the paths under /xrpc that it calls with its access token.

import { once } from 'node:events'
import http from 'node:http'
import { text } from 'node:stream/consumers'
import * as oidc from 'openid-client'
import { refusedPage, signedInPage } from './pages.mjs'

export class OpenidClientApp {
  #server
  #secrets
  #config
  #scope
  #pending
  #claims
  #tokens

  static async start({ secrets }) {
    const server = http.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new OpenidClientApp(server, secrets)
  }

  constructor(server, secrets) {
    this.#server = server
    this.#secrets = secrets
    this.url = `http://127.0.0.1:${server.address().port}`
    this.loginUrl = `${this.url}/login`
    this.redirectUri = `${this.url}/callback`
    server.on('request', (request, response) => this.#serve(request, response))
  }

  /** `form_post` lets the answers be posted; without it they are in the query. */
  responseMode

  /** Learns the provider by discovery; `client` is what the registration answered. */
  async configure({ issuer, client, scope }) {
    const authentication = client.client_secret ? oidc.ClientSecretBasic(client.client_secret) : oidc.None()
    const execute = [oidc.enableNonRepudiationChecks] // check the signature of the id_token too
    if (issuer.startsWith('http:')) execute.push(oidc.allowInsecureRequests)
    this.#config = await oidc.discovery(new URL(issuer), client.client_id, undefined, authentication, { execute })
    this.#scope = scope
  }

  async #serve(request, response) {
    const url = new URL(request.url, this.url)
    if (url.pathname === '/login') return response.writeHead(302, { location: await this.#authorizationUrl() }).end()
    if (url.pathname !== '/callback') return response.writeHead(404).end()
    response.setHeader('content-type', 'text/html')
    try {
      await this.#redeem(request.method === 'POST' ? await posted(url, request) : url)
      response.end(signedInPage(this.#claims.sub))
    } catch (error) {
      response.end(refusedPage(error.error ?? error.message))
    }
  }

  async #authorizationUrl() {
    const [codeVerifier, state, nonce] = [oidc.randomPKCECodeVerifier(), oidc.randomState(), oidc.randomNonce()]
    this.#pending = { pkceCodeVerifier: codeVerifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true }
    this.#secrets.add('code verifier', codeVerifier)
    return oidc.buildAuthorizationUrl(this.#config, {
      redirect_uri: this.redirectUri,
      scope: this.#scope,
      state,
      nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(codeVerifier),
      code_challenge_method: 'S256',
      ...(this.responseMode && { response_mode: this.responseMode }),
    }).href
  }

  async #redeem(callback) {
    const tokens = await oidc.authorizationCodeGrant(this.#config, callback, this.#pending)
    this.#claims = tokens.claims()
    this.#keep(tokens)
  }

  #keep(tokens) {
    this.#tokens = { access: tokens.access_token, refresh: tokens.refresh_token ?? this.#tokens?.refresh, scope: tokens.scope }
    this.#secrets.add('access token', tokens.access_token)
    this.#secrets.add('refresh token', tokens.refresh_token)
    this.#secrets.add('id token', tokens.id_token)
  }

  /** What it holds after a sign-in: `claims` of the id_token, `tokens` (`access`, `refresh`, `scope`). */
  async held() {
    return { claims: this.#claims, tokens: this.#tokens }
  }

  /** `{ status, body, retryAfter }`; a refused token is a status like any other. */
  async userinfo() {
    return answer(async () => Response.json(await oidc.fetchUserInfo(this.#config, this.#tokens.access, this.#claims.sub)))
  }

  async xrpc(method, nsid, { query = {}, json } = {}) {
    const url = new URL(`/xrpc/${nsid}?${new URLSearchParams(query)}`, this.#config.serverMetadata().issuer)
    const headers = new Headers(json && { 'content-type': 'application/json' })
    const body = json && JSON.stringify(json)
    return answer(() => oidc.fetchProtectedResource(this.#config, this.#tokens.access, url, method, body, headers))
  }

  /** A call that no library would send: `path` and `body` go as they are. */
  async raw(method, path, { headers = {}, body } = {}) {
    const url = `${this.#config.serverMetadata().issuer}${path}`
    const authorization = `Bearer ${this.#tokens.access}`
    const response = await fetch(url, { method, headers: { authorization, ...headers }, body, redirect: 'manual' })
    return { status: response.status, text: await response.text(), headers: response.headers }
  }

  /** `undefined`, or the OAuth error of the token endpoint: `error`, `description`. With `scope`, the tokens are narrowed. */
  async refresh(scope) {
    try {
      this.#keep(await oidc.refreshTokenGrant(this.#config, this.#tokens.refresh, scope && { scope }))
      return undefined
    } catch (error) {
      if (error instanceof oidc.ResponseBodyError) return { error: error.error, description: error.error_description }
      throw error
    }
  }

  async revoke() {
    await oidc.tokenRevocation(this.#config, this.#tokens.refresh, { token_type_hint: 'refresh_token' })
  }

  async stop() {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

/** The answer that a browser posts, as the library takes it. */
async function posted(url, request) {
  const headers = { 'content-type': request.headers['content-type'] }
  return new Request(url, { method: 'POST', headers, body: await text(request) })
}

async function answer(call) {
  try {
    const response = await call()
    return { status: response.status, body: await response.json(), retryAfter: response.headers.get('retry-after') }
  } catch (error) {
    if (error instanceof oidc.WWWAuthenticateChallengeError) return { status: error.status, challenge: error.cause }
    throw error
  }
}
