// The zero-configuration `aip serve` on loopback, and an app that uses the npm package openid-client.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { isSignedOut, knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'

export const name = 'openid-client: sign in, write, refresh and revoke, with AIP as a loopback client of the PDS'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('olga')
  const app = await story.newApp(OpenidClientApp, { name: 'Notes', scope: 'openid profile atproto transition:generic' })
  const page = await story.newBrowser()

  const pages = await story.signIn(page, app, person)

  assert.deepEqual(pages, ['aip:login', 'pds:sign-in', 'pds:consent', 'aip:consent', 'app:signed-in'])
  await knowsThePerson(app, person)
  await usesTheRepository(app, person, story.lab)
  await refreshesItsTokens(app)
  await usesTheRepository(app, person, story.lab)

  const [upstream, ...more] = await story.lab.oauthSessions(person.did)
  assert.deepEqual(more, [])
  assert.match(upstream.client_id, /^http:\/\/localhost\?/)
  assert.equal(upstream.client_auth, 'none')

  await app.revoke()
  await isSignedOut(app, person, story.lab)
}
