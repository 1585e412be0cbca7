// The program in `rust` as the stories see it: an app with the crate atproto-oauth-aip, which holds the
// credentials of the session at the PDS, as apps of AIP v2 do, and calls the PDS itself.

import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import * as oidc from 'openid-client'
import { rustProgram } from '../lib/cache.mjs'
import { StockApp } from './stock_app.mjs'

export class AtprotoOauthAipApp extends StockApp {
  static source = path.join(import.meta.dirname, 'rust', 'src', 'main.rs')
  #settings
  #pending
  /** What `session_exchange` gave. */
  session
  /** Whom it signs in: the crate asks for a handle before the browser goes anywhere. */
  handle

  async configure(settings) {
    this.issuer = settings.AIP_URL
    this.#settings = { ...settings, REDIRECT_URI: this.redirectUri, CA_FILE: process.env.NODE_EXTRA_CA_CERTS }
    this.answerSignIns(() => this.#login(), (url) => this.#redeem(url))
  }

  async #login() {
    this.#pending = await this.#run(['begin', this.handle])
    this.secrets.add('code verifier', this.#pending.verifier)
    this.secrets.add('request_uri', new URL(this.#pending.location).searchParams.get('request_uri'))
    return this.#pending.location
  }

  async #redeem(url) {
    const { error, state, iss, code } = Object.fromEntries(url.searchParams)
    if (state !== this.#pending.state || iss !== this.issuer) throw new Error('this is no answer to our request')
    if (error) throw Object.assign(new Error(error), { error })
    const { token, session } = await this.#run(['finish', code], { VERIFIER: this.#pending.verifier })
    this.session = session
    this.secrets.add('access token of the PDS', session.access_token)
    this.secrets.add('DPoP key of the PDS', session.dpop_key)
    this.secrets.add('DPoP key of the PDS', session.dpop_jwk.d)
    return this.keep(token, { sub: session.did })
  }

  /** A token of the app itself. */
  async ownToken() {
    const token = await this.#run(['own'])
    this.secrets.add('token of the app', token.access_token)
    return token
  }

  /** A call to the PDS, without AIP, with the credentials that it holds. */
  async callPds(nsid) {
    const { access_token: access, dpop_jwk: jwk, pds_endpoint: pds } = this.session
    const algorithm = { name: 'ECDSA', namedCurve: jwk.crv }
    const { kty, crv, x, y, d } = jwk
    const privateKey = await crypto.subtle.importKey('jwk', { kty, crv, x, y, d }, algorithm, false, ['sign'])
    const publicKey = await crypto.subtle.importKey('jwk', { kty, crv, x, y }, algorithm, true, ['verify'])
    const config = new oidc.Configuration({ issuer: pds }, 'none')
    const DPoP = oidc.getDPoPHandle(config, { privateKey, publicKey })
    const url = new URL(`/xrpc/${nsid}`, pds)
    const response = await oidc.fetchProtectedResource(config, access, url, 'GET', undefined, undefined, { DPoP })
    return { status: response.status, body: await response.json() }
  }

  /** One run of the program: what its last line says. */
  async #run(step, more = {}) {
    const env = { PATH: process.env.PATH, ...this.#settings, ...more }
    const { stdout } = await promisify(execFile)(rustProgram, step, { env })
    return JSON.parse(stdout.trimEnd().split('\n').at(-1))
  }
}
