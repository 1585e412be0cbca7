// AIP with an https external base and its own TLS is a confidential client: it proves itself to the
// PDS with private_key_jwt. The PDS is on https too and fetches AIP's metadata and keys.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { isSignedOut, knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'

export const name = 'confidential: private_key_jwt upstream, TLS on every side, handle from DNS'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('carol')
  const app = await story.newApp(OpenidClientApp, {
    name: 'Notes',
    scope: 'openid profile atproto transition:generic',
    authMethod: 'client_secret_basic',
  })
  const page = await story.newBrowser()

  const pages = await story.signIn(page, app, person)

  assert.deepEqual(pages, ['aip:login', 'pds:sign-in', 'pds:consent', 'aip:consent', 'app:signed-in'])
  await knowsThePerson(app, person)
  await usesTheRepository(app, person, story.lab)
  await refreshesItsTokens(app)

  const [upstream, ...more] = await story.lab.oauthSessions(person.did)
  assert.deepEqual(more, [])
  assert.equal(upstream.client_id, `${story.aip.url}/oauth-client-metadata.json`)
  assert.equal(upstream.client_auth, 'private_key_jwt')

  await app.revoke()
  await isSignedOut(app, person, story.lab)
}
