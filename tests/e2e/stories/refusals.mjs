// What people and apps get to see when it does not work.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { look } from '../lib/look.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'refusals: unknown app, wrong redirect, unknown handle, "no" at AIP and at the PDS'
export const lab = 'http'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('nora')
  const app = await story.newApp(OpenidClientApp, { name: 'Notes', scope: 'openid atproto' })
  const page = await story.newBrowser()

  await showsAnErrorPage(page, story.aip, { client_id: 'nobody', redirect_uri: app.redirectUri })
  await showsAnErrorPage(page, story.aip, { client_id: app.clientId, redirect_uri: `${app.redirectUri}/elsewhere` })
  await asksAgainForTheHandle(page, app)

  const atPds = await story.signIn(page, app, person, { atPds: 'deny' })
  assert.deepEqual(atPds, ['aip:login', 'pds:sign-in', 'pds:consent', 'app:refused'])
  assert.equal(await page.locator('main#refused').innerText(), 'access_denied')

  const atAip = await story.signIn(page, app, person, { consent: 'deny' })
  assert.deepEqual(atAip.slice(-2), ['aip:consent', 'app:refused'])
  assert.equal(await page.locator('main#refused').innerText(), 'access_denied')
  assert.equal((await app.held()).tokens, undefined)
  await until('AIP to give up the session that nobody may use', async () => (await story.lab.oauthSessions(person.did)).length === 0)
}

/** An app that cannot be trusted with the browser gets nothing: the page stays at AIP. */
async function showsAnErrorPage(page, aip, request) {
  const query = new URLSearchParams({
    response_type: 'code',
    scope: 'openid atproto',
    state: 'state',
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
    code_challenge_method: 'S256',
    ...request,
  })
  const response = await page.goto(`${aip.url}/oauth/authorize?${query}`)
  assert.equal(response.status(), 400)
  assert.equal(new URL(page.url()).origin, aip.url)
  assert.notEqual(await page.locator('main#error h1').innerText(), '')
  await look(page, 'error')
}

async function asksAgainForTheHandle(page, app) {
  await page.goto(app.loginUrl)
  await page.locator('input[name=subject]').fill('nobody-here.test')
  await page.locator('button#continue').click()
  const alert = page.locator('[role=alert]')
  await alert.waitFor()
  assert.match(await alert.innerText(), /nobody-here\.test/, 'it says what was tried')
  assert.ok(await page.locator('form#login').isVisible())
  await look(page, 'login-unknown-handle')
}
