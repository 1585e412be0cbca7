// A page that signs people in by itself, in the browser, from another origin: AppAuth-JS.

import assert from 'node:assert/strict'
import { AppauthApp } from '../clients/appauth_app.mjs'
import { knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'AppAuth-JS: a page in the browser signs in, refreshes and revokes across origins'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('amy')
  const app = await story.newAppOf(AppauthApp, 'appauth-js')
  const page = await story.newBrowser()

  const refused = await story.signIn(page, app, person, { consent: 'deny' })
  assert.deepEqual(refused.slice(-2), ['aip:consent', 'app:refused'])
  assert.equal(await page.locator('main#refused').innerText(), 'access_denied')

  const pages = await story.signIn(page, app, person)
  assert.deepEqual(pages.slice(-2), ['aip:consent', 'app:signed-in'])
  await app.takeFrom(page)
  await knowsThePerson(app, person)
  await usesTheRepository(app, person, story.lab)
  await refreshesItsTokens(app)

  await app.revoke()
  assert.equal((await app.userinfo()).status, 401)
  await until('the session at the PDS to be gone', async () => (await story.lab.oauthSessions(person.did)).length === 0)
}
