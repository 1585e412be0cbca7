// An app with Next.js and next-auth 5, which keeps its session in its own cookie.

import assert from 'node:assert/strict'
import { NextAuthApp } from '../clients/next_auth_app.mjs'
import { knowsThePerson } from '../lib/life.mjs'

export const name = 'next-auth 5 in Next.js: PKCE, state and nonce, and the handle from the id_token'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('nadia')
  const app = await story.newAppOf(NextAuthApp, 'next-auth')
  const page = await story.newBrowser()

  const refused = await story.signIn(page, app, person, { consent: 'deny' })
  assert.deepEqual(refused.slice(-2), ['aip:consent', 'app:refused'])

  const pages = await story.signIn(page, app, person)
  assert.deepEqual(pages.slice(-2), ['aip:consent', 'app:signed-in'])
  assert.equal(await page.locator('main#signed-in').innerText(), person.did)
  assert.equal((await app.held()).claims.preferred_username, person.handle)
  await knowsThePerson(app, person)
}
