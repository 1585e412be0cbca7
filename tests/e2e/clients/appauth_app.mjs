// A single-page app with the npm package @openid/appauth (AppAuth-JS): everything but the page itself
// happens in the browser (appauth_page.js), which calls AIP from another origin.

import path from 'node:path'
import { build } from 'esbuild'
import { StockApp } from './stock_app.mjs'

const page = path.join(import.meta.dirname, 'appauth_page.js')

export class AppauthApp extends StockApp {
  static source = page
  callbackPath = '/'

  async configure(settings) {
    this.issuer = settings.AIP_URL
    const define = { SETTINGS: JSON.stringify({ ...settings, REDIRECT_URI: this.redirectUri }) }
    const { outputFiles } = await build({ entryPoints: [page], bundle: true, write: false, format: 'esm', define, logLevel: 'silent' })
    const html = `<!doctype html><meta charset="utf-8"><title>App</title><body><script type="module" src="/page.js"></script>`
    this.answerWith((request, response) => {
      const script = request.url === '/page.js'
      response.setHeader('content-type', script ? 'text/javascript' : 'text/html')
      response.end(script ? outputFiles[0].contents : html)
    })
  }

  /** The page that a person is on, who is signed in there: it holds the tokens. */
  async takeFrom(page) {
    this.page = page
    const held = await page.evaluate(() => window.app.held())
    this.keep(held.tokens, held.claims)
  }

  async refresh() {
    await this.page.evaluate(() => window.app.refresh())
    await this.takeFrom(this.page)
    return undefined
  }

  async revoke() {
    await this.page.evaluate(() => window.app.revoke())
  }
}
