// An app of the FAPI 2.0 Security Profile with the npm package openid-client: PAR, PKCE, private_key_jwt
// and DPoP.

import * as oidc from 'openid-client'
import { StockApp } from './stock_app.mjs'

export class Fapi2App extends StockApp {
  static source = import.meta.filename
  #config
  #DPoP
  #pending
  #keyPair

  /** The files that its registration names, made before it is registered. */
  async files() {
    this.#keyPair = await oidc.randomDPoPKeyPair('ES256')
    const jwk = await crypto.subtle.exportKey('jwk', this.#keyPair.publicKey)
    const { kty, crv, x, y } = jwk
    return { 'keys.json': JSON.stringify({ keys: [{ kty, crv, x, y, kid: 'first', alg: 'ES256', use: 'sig' }] }) }
  }

  async configure({ AIP_URL, CLIENT_ID, SCOPE }) {
    this.issuer = AIP_URL
    const signingKey = { key: this.#keyPair.privateKey, kid: 'first' }
    const aip = await oidc.discovery(new URL(AIP_URL), CLIENT_ID, undefined, oidc.PrivateKeyJwt(signingKey))
    const DPoP = oidc.getDPoPHandle(aip, await oidc.randomDPoPKeyPair('ES256'))
    oidc.enableNonRepudiationChecks(aip)
    this.#config = aip
    this.#DPoP = DPoP
    this.answerSignIns(() => this.#login(SCOPE), (url) => this.#redeem(url))
  }

  async #login(scope) {
    const [aip, DPoP, redirectUri] = [this.#config, this.#DPoP, this.redirectUri]
    const [verifier, state, nonce] = [oidc.randomPKCECodeVerifier(), oidc.randomState(), oidc.randomNonce()]
    this.#pending = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true }
    this.secrets.add('code verifier', verifier)
    const location = await oidc.buildAuthorizationUrlWithPAR(aip, {
      redirect_uri: redirectUri, scope, state, nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
    }, { DPoP })
    return location.href
  }

  async #redeem(url) {
    const [aip, DPoP, pending] = [this.#config, this.#DPoP, this.#pending]
    const tokens = await oidc.authorizationCodeGrant(aip, url, pending, undefined, { DPoP })
    return this.keep(tokens, tokens.claims())
  }

  async refresh() {
    try {
      const [aip, DPoP] = [this.#config, this.#DPoP]
      this.keep(await oidc.refreshTokenGrant(aip, this.tokens.refresh, undefined, { DPoP }))
      return undefined
    } catch (error) {
      if (error instanceof oidc.ResponseBodyError) return { error: error.error, description: error.error_description }
      throw error
    }
  }

  async revoke() {
    await oidc.tokenRevocation(this.#config, this.tokens.refresh, { token_type_hint: 'refresh_token' })
  }

  userinfo() {
    return this.#protected('GET', new URL(this.#config.serverMetadata().userinfo_endpoint))
  }

  xrpc(method, nsid, { query = {}, json } = {}) {
    return this.#protected(method, new URL(`/xrpc/${nsid}?${new URLSearchParams(query)}`, this.issuer), json)
  }

  async #protected(method, url, json) {
    const headers = new Headers(json && { 'content-type': 'application/json' })
    const body = json && JSON.stringify(json)
    try {
      const response = await oidc.fetchProtectedResource(this.#config, this.tokens.access, url, method, body, headers, { DPoP: this.#DPoP })
      return { status: response.status, body: await response.json() }
    } catch (error) {
      if (error instanceof oidc.WWWAuthenticateChallengeError) return { status: error.status, challenge: error.cause }
      throw error
    }
  }
}
