// An app with Auth.js (the npm package @auth/core, which next-auth 5 and the packages for other frameworks
// are made of). It begins a sign-in by a form of its own page.

import crypto from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { Auth } from '@auth/core'
import { refusedPage, signedInPage } from '../apps/pages.mjs'
import { StockApp } from './stock_app.mjs'

export class AuthJsApp extends StockApp {
  static source = import.meta.filename
  callbackPath = '/auth/callback/aip'

  async configure({ AIP_URL, CLIENT_ID, CLIENT_SECRET, SCOPE }) {
    this.issuer = AIP_URL
    const keep = (profile, account) => this.keep(account, profile)

    const config = {
      basePath: '/auth',
      secret: crypto.randomUUID(),
      trustHost: true,
      pages: { signIn: '/', error: '/' },
      providers: [{
        id: 'aip', name: 'AIP', type: 'oidc', checks: ['pkce', 'state', 'nonce'],
        issuer: AIP_URL, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET,
        authorization: { params: { scope: SCOPE } },
        profile: (claims) => ({ id: claims.sub, name: claims.preferred_username }),
      }],
      callbacks: {
        jwt({ token, account, profile }) {
          if (account) keep(profile, account) // at the sign-in alone
          return account ? { ...token, did: profile.sub } : token
        },
        session: ({ session, token }) => ({ ...session, did: token.did }),
      },
    }
    config.logger = { error: (error) => (this.failure = error), warn() {}, debug() {} }
    this.answerWith((request, response) => this.#answer(request, response, config))
  }

  async #answer(request, response, config) {
    const url = new URL(request.url, this.url)
    const ask = async (path, init = {}) => {
      const headers = new Headers(Object.entries(request.headers).filter(([name]) => name !== 'connection'))
      return Auth(new Request(new URL(path, this.url), { headers, ...init }), config)
    }
    if (url.pathname.startsWith('/auth/')) {
      const body = request.method === 'POST' ? await buffer(request) : undefined
      return send(response, await ask(request.url, { method: request.method, body }))
    }
    if (url.pathname === '/login') {
      const answer = await ask('/auth/csrf')
      const { csrfToken } = await answer.json()
      return send(response, new Response(signInForm(csrfToken, this.url), { headers: answer.headers }), 'text/html')
    }
    const { did } = (await (await ask('/auth/session')).json()) ?? {}
    response.setHeader('content-type', 'text/html')
    const refused = () => refusedPage(url.searchParams.get('error') ?? String(this.failure))
    response.end(did && !url.searchParams.has('error') ? signedInPage(did) : refused())
  }
}

/** What `signIn('aip')` of Auth.js does: a form with the token against forgery. */
const signInForm = (csrfToken, home) => `<!doctype html><title>App</title>
  <form id="begin" method="post" action="/auth/signin/aip">
    <input type="hidden" name="csrfToken" value="${csrfToken}"><input type="hidden" name="callbackUrl" value="${home}/">
  </form><script>document.getElementById('begin').submit()</script>`

async function send(response, answer, type) {
  response.statusCode = answer.status
  for (const [name, value] of answer.headers) if (name !== 'set-cookie') response.setHeader(name, value)
  response.setHeader('set-cookie', answer.headers.getSetCookie())
  if (type) response.setHeader('content-type', type)
  response.end(await answer.text())
}
