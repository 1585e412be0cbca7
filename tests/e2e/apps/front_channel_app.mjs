// An app that the person's browser tells of a sign-out (OpenID Connect Front-Channel Logout 1.0), with the
// npm package openid-client. It keeps its session in cookies of three kinds, and notes which of them come
// back in the frame.

import * as oidc from 'openid-client'
import { StockApp } from '../clients/stock_app.mjs'
import { refusedPage, signedInPage } from './pages.mjs'

/** A session in a cookie, by how sites write them. The first is what most libraries do. */
const COOKIES = [
  'lax=1; Secure; HttpOnly; SameSite=Lax; Path=/',
  'none=1; Secure; HttpOnly; SameSite=None; Path=/',
  'partitioned=1; Secure; HttpOnly; SameSite=None; Partitioned; Path=/',
]

export class FrontChannelApp extends StockApp {
  #config
  #pending
  #idToken
  /** What the frames brought, one after the other: `iss`, `sid`, and the names of the cookies. */
  told = []

  get frontchannelLogoutUri() {
    return `${this.url}/front-channel?tenant=1`
  }

  get goodbyeUri() {
    return `${this.url}/goodbye`
  }

  /** Leads to AIP, where the person signs out. */
  get logoutUrl() {
    return `${this.url}/logout`
  }

  async configure({ issuer, client, scope }) {
    this.issuer = issuer
    this.#config = await oidc.discovery(new URL(issuer), client.client_id, client.client_secret)
    this.scope = scope
    this.answerWith((request, response) => this.#answer(request, response))
  }

  async #answer(request, response) {
    const url = new URL(request.url, this.url)
    response.setHeader('content-type', 'text/html')
    switch (url.pathname) {
      case '/login': return response.writeHead(302, { location: await this.#login() }).end()
      case '/logout': return response.writeHead(302, { location: this.#logout() }).end()
      case '/goodbye': return response.end('<!doctype html><title>App</title><main id="goodbye">Goodbye</main>')
      case '/front-channel': return this.#signOut(request, response, url)
      case this.callbackPath: return this.#callback(response, url)
      default: return response.writeHead(404).end()
    }
  }

  async #login() {
    const [pkceCodeVerifier, expectedState] = [oidc.randomPKCECodeVerifier(), oidc.randomState()]
    this.#pending = { pkceCodeVerifier, expectedState, idTokenExpected: true }
    this.secrets.add('code verifier', pkceCodeVerifier)
    return oidc.buildAuthorizationUrl(this.#config, {
      redirect_uri: this.redirectUri, scope: this.scope, state: expectedState,
      code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256',
    }).href
  }

  async #callback(response, url) {
    try {
      const tokens = await oidc.authorizationCodeGrant(this.#config, url, this.#pending)
      this.#idToken = tokens.id_token
      response.setHeader('set-cookie', COOKIES)
      response.end(signedInPage(this.keep(tokens, tokens.claims()).sub))
    } catch (error) {
      response.end(refusedPage(error.error ?? error.stack))
    }
  }

  #logout() {
    const parameters = { id_token_hint: this.#idToken, post_logout_redirect_uri: this.goodbyeUri }
    return oidc.buildEndSessionUrl(this.#config, parameters).href
  }

  /** What it is told in a frame; a page with a script, as apps have them. */
  #signOut(request, response, url) {
    const { iss, sid, tenant } = Object.fromEntries(url.searchParams)
    const cookies = (request.headers.cookie ?? '').split('; ').filter(Boolean).map((pair) => pair.split('=')[0])
    this.told.push({ iss, sid, tenant, cookies: cookies.sort() })
    response.setHeader('cache-control', 'no-store')
    response.end('<!doctype html><title>App</title><script>document.title = "Signed out"</script>')
  }
}
