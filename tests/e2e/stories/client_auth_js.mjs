// An app with Auth.js, which begins by a form of its own, and keeps its session in its own cookie.

import assert from 'node:assert/strict'
import { AuthJsApp } from '../clients/auth_js_app.mjs'
import { knowsThePerson } from '../lib/life.mjs'

export const name = 'Auth.js: PKCE, state and nonce, and the handle from the id_token'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('judy')
  const app = await story.newAppOf(AuthJsApp, 'auth-js')
  const page = await story.newBrowser()

  const refused = await story.signIn(page, app, person, { consent: 'deny' })
  assert.deepEqual(refused.slice(-2), ['aip:consent', 'app:refused'])

  const pages = await story.signIn(page, app, person)
  assert.deepEqual(pages.slice(-2), ['aip:consent', 'app:signed-in'])
  assert.equal(await page.locator('main#signed-in').innerText(), person.did)
  assert.equal((await app.held()).claims.preferred_username, person.handle)
  await knowsThePerson(app, person)
}
