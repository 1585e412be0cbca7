// A public app with the npm package oauth4webapi: pushed requests (PAR), PKCE, and DPoP at every step.

import * as oauth from 'oauth4webapi'
import { StockApp } from './stock_app.mjs'

export class Oauth4webapiApp extends StockApp {
  static source = import.meta.filename
  #send
  #pending

  async configure({ AIP_URL, CLIENT_ID, SCOPE }) {
    this.issuer = AIP_URL
    const issuer = new URL(AIP_URL)
    const options = { [oauth.allowInsecureRequests]: issuer.protocol === 'http:' }
    const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options))
    const client = { client_id: CLIENT_ID }
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'))

    // AIP asks for a nonce at first; the second try carries it.
    const withNonce = async (attempt) => {
      try {
        return await attempt()
      } catch (error) {
        if (!oauth.isDPoPNonceError(error)) throw error
        return attempt()
      }
    }
    this.#send = { as, client, options: { ...options, DPoP }, withNonce }
    this.answerSignIns(() => this.#login(SCOPE), (url) => this.#redeem(url))
  }

  async #login(scope) {
    const { as, client, options, withNonce } = this.#send
    const [verifier, state, nonce] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState(), oauth.generateRandomNonce()]
    this.#pending = { verifier, state, nonce }
    this.secrets.add('code verifier', verifier)
    const parameters = new URLSearchParams({
      response_type: 'code', redirect_uri: this.redirectUri, scope, state, nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
    })
    const pushed = await withNonce(async () => oauth.processPushedAuthorizationResponse(as, client,
      await oauth.pushedAuthorizationRequest(as, client, oauth.None(), parameters, options)))
    const away = new URL(as.authorization_endpoint)
    away.search = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri })
    return away.href
  }

  async #redeem(url) {
    const { as, client, options, withNonce } = this.#send
    const { verifier, state, nonce } = this.#pending
    const answer = oauth.validateAuthResponse(as, client, url, state)
    let response
    const tokens = await withNonce(async () => {
      response = await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), answer, this.redirectUri, verifier, options)
      return oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: nonce, requireIdToken: true })
    })
    await oauth.validateApplicationLevelSignature(as, response, options)
    return this.keep(tokens, oauth.getValidatedIdTokenClaims(tokens))
  }

  async refresh() {
    const { as, client, options, withNonce } = this.#send
    try {
      this.keep(await withNonce(async () => oauth.processRefreshTokenResponse(as, client,
        await oauth.refreshTokenGrantRequest(as, client, oauth.None(), this.tokens.refresh, options))))
      return undefined
    } catch (error) {
      if (error instanceof oauth.ResponseBodyError) return { error: error.error, description: error.error_description }
      throw error
    }
  }

  async revoke() {
    const { as, client, options } = this.#send
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, oauth.None(), this.tokens.refresh, options))
  }

  async userinfo() {
    return this.#protected('GET', new URL(this.#send.as.userinfo_endpoint))
  }

  async xrpc(method, nsid, { query = {}, json } = {}) {
    return this.#protected(method, new URL(`/xrpc/${nsid}?${new URLSearchParams(query)}`, this.issuer), json)
  }

  async #protected(method, url, json) {
    const { options, withNonce } = this.#send
    const headers = new Headers(json && { 'content-type': 'application/json' })
    const body = json && JSON.stringify(json)
    try {
      const response = await withNonce(() => oauth.protectedResourceRequest(this.tokens.access, method, url, headers, body, options))
      return { status: response.status, body: await response.json() }
    } catch (error) {
      if (error instanceof oauth.WWWAuthenticateChallengeError) return { status: error.status, challenge: error.cause }
      throw error
    }
  }
}
