// An express app with the npm package passport-openidconnect: a library without discovery and PKCE.

import assert from 'node:assert/strict'
import { PassportApp } from '../clients/passport_app.mjs'
import { knowsThePerson } from '../lib/life.mjs'

export const name = 'passport-openidconnect: a library without PKCE, which reads the id_token alone'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('paula')
  const app = await story.newAppOf(PassportApp, 'passport-openidconnect')
  const page = await story.newBrowser()

  const refused = await story.signIn(page, app, person, { consent: 'deny' })
  assert.deepEqual(refused.slice(-2), ['aip:consent', 'app:refused'])

  const pages = await story.signIn(page, app, person)
  assert.deepEqual(pages.slice(-2), ['aip:consent', 'app:signed-in'])
  assert.equal(await page.locator('main#signed-in').innerText(), person.did)
  assert.equal(app.profile.username, person.handle)
  await knowsThePerson(app, person)
}
