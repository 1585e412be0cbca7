// Pages as people use them: clicks that come twice, two tabs, an app whose callback leads on to a program
// on the person's device, and a browser that keeps no cookies.

import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { walkOn } from '../lib/walk.mjs'

export const name = 'pages: double clicks, two tabs, a callback that leads on to http, no cookies'
export const lab = 'tls'

export async function tell(story) {
  await story.startAip()
  const app = await AppThatLeadsOn.start(story.lab.certificates)
  story.whenOver(() => app.stop())
  const client = await story.aip.createClient({
    name: 'Leads on', redirectUri: app.redirectUri, scope: 'openid atproto', authMethod: 'none',
  })
  const authorizeUrl = (more = {}) => app.authorizeUrl(story.aip.url, client.client_id, more)
  const person = await story.newPerson('paula')
  const page = await story.newBrowser()

  // Both tabs are opened before either has a cookie, and every button is clicked twice.
  const other = await page.context().newPage()
  await Promise.all([page.goto(authorizeUrl()), other.goto(authorizeUrl({ prompt: 'consent' }))])
  for (const tab of [page, other]) {
    await tab.locator('input[name=subject]').fill(person.handle)
    await tab.locator('button#continue').dblclick()
    const seen = await walkOn(tab, { person, stopAt: 'aip:consent' })
    assert.equal(seen.at(-1), 'aip:consent', seen.join())
  }
  for (const tab of [page, other]) {
    await tab.locator('button#allow').dblclick()
    await arrives(tab, app.landing)
    assert.equal(new URL(tab.url()).searchParams.get('error'), null)
  }
  assert.equal(app.codes.size, 2, 'each tab brought one code, whatever was clicked')

  // A no, clicked twice; a page that another tab's sign-out made useless says so.
  await page.goto(authorizeUrl({ prompt: 'consent login' }))
  await page.locator('button.account').dblclick()
  await walkOn(page, { person, stopAt: 'aip:consent' })
  await page.locator('button#deny').dblclick()
  await arrives(page, app.landing)
  assert.equal(new URL(page.url()).searchParams.get('error'), 'access_denied')

  // The forms of the account page.
  await page.goto(`${story.aip.url}/account`)
  await page.locator('button.revoke').dblclick()
  await page.getByText('No app may use this account.').waitFor()
  await page.locator('button#sign-out-button').dblclick()
  await page.getByText('You are signed out of this browser.').waitFor()

  const without = await story.newBrowser({ cookies: false })
  await without.goto(authorizeUrl())
  await without.locator('input[name=subject]').fill(person.handle)
  await without.locator('button#continue').click()
  await without.locator('main#error').waitFor()
  assert.match(await without.locator('main#error').innerText(), /does not keep cookies/)
}

/**
 * Waits until the tab is at `landing`. The navigation that the first of two clicks began may be aborted by
 * that of the second, which then leads there.
 */
async function arrives(tab, landing) {
  for (;;) {
    try {
      return await tab.waitForURL(`${landing}*`)
    } catch (error) {
      if (!error.message.includes('net::ERR_ABORTED')) throw error
    }
  }
}

/** An app with an https callback that leads on to `http://localhost`, as command line programs have it. */
class AppThatLeadsOn {
  codes = new Set()
  #servers

  static async start(certificates) {
    const secure = https.createServer({ key: fs.readFileSync(certificates.key), cert: fs.readFileSync(certificates.chain) })
    const plain = http.createServer()
    for (const server of [secure, plain]) await once(server.listen(0, '127.0.0.1'), 'listening')
    return new AppThatLeadsOn(secure, plain)
  }

  constructor(secure, plain) {
    this.#servers = [secure, plain]
    this.redirectUri = `https://app.internal:${secure.address().port}/callback`
    this.landing = `http://localhost:${plain.address().port}/landed`
    secure.on('request', (request, response) => {
      const { searchParams } = new URL(request.url, this.redirectUri)
      if (searchParams.has('code')) this.codes.add(searchParams.get('code'))
      const error = searchParams.has('error') ? `?error=${searchParams.get('error')}` : ''
      response.writeHead(302, { location: `${this.landing}${error}` }).end()
    })
    plain.on('request', (_, response) => response.setHeader('content-type', 'text/html').end('<main id="signed-in">Landed</main>'))
  }

  authorizeUrl(issuer, clientId, more) {
    const challenge = crypto.createHash('sha256').update(crypto.randomBytes(32)).digest('base64url')
    const query = new URLSearchParams({
      response_type: 'code', client_id: clientId, redirect_uri: this.redirectUri, scope: 'openid atproto',
      state: crypto.randomUUID(), code_challenge: challenge, code_challenge_method: 'S256', ...more,
    })
    return `${issuer}/oauth/authorize?${query}`
  }

  async stop() {
    for (const server of this.#servers) {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    }
  }
}
