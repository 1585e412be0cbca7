// A site that knows nothing of signing in, behind oauth2-proxy.

import crypto from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { signedInPage } from '../apps/pages.mjs'
import { goProgramsDir } from '../lib/cache.mjs'
import { until } from '../lib/poll.mjs'
import { Program, freePort } from '../lib/process.mjs'

export class Oauth2ProxyApp {
  static source = import.meta.filename
  #program
  #site
  #log
  /** The headers of the last request that came through. */
  seen

  static async start({ log }) {
    return new this(await freePort(), log)
  }

  constructor(port, log) {
    this.#log = log
    this.url = `http://127.0.0.1:${port}`
    this.loginUrl = `${this.url}/`
    this.redirectUri = `${this.url}/oauth2/callback`
    this.#site = http.createServer((request, response) => {
      this.seen = request.headers
      response.setHeader('content-type', 'text/html')
      response.end(signedInPage(request.headers['x-forwarded-user']))
    })
  }

  async configure({ AIP_URL, CLIENT_ID, CLIENT_SECRET }) {
    this.#site.listen(0, '127.0.0.1')
    await once(this.#site, 'listening')
    const file = `${this.#log}.toml`
    fs.writeFileSync(file, `
      provider = "oidc"
      scope = "openid profile atproto"
      code_challenge_method = "S256"
      oidc_email_claim = "sub"
      email_domains = ["*"]

      oidc_issuer_url = "${AIP_URL}"
      client_id = "${CLIENT_ID}"
      client_secret = "${CLIENT_SECRET}"
      redirect_url = "${this.redirectUri}"
      http_address = "${new URL(this.url).host}"
      upstreams = ["http://127.0.0.1:${this.#site.address().port}/"]
      cookie_secret = "${crypto.randomBytes(16).toString('hex')}"
      cookie_secure = false
      skip_provider_button = true
      pass_user_headers = true
    `)
    const command = path.join(goProgramsDir, 'oauth2-proxy')
    this.#program = new Program('oauth2-proxy', command, ['--config', file], { env: { PATH: process.env.PATH }, log: this.#log })
    const listening = until('oauth2-proxy to listen', () => fetch(`${this.url}/ping`).then((it) => it.ok, () => false))
    await this.#program.whileRunning(listening)
  }

  async stop() {
    this.#site.closeAllConnections()
    this.#site.close()
    await this.#program?.stop()
  }
}
