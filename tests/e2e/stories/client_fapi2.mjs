// The FAPI 2.0 Security Profile with the npm package openid-client: PAR, private_key_jwt and DPoP, over TLS.

import assert from 'node:assert/strict'
import { Fapi2App } from '../clients/fapi2_app.mjs'
import { isSignedOut, knowsThePerson, usesTheRepository } from '../lib/life.mjs'

export const name = 'openid-client under the FAPI 2.0 Security Profile: PAR, private_key_jwt and DPoP'
export const lab = 'tls'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('fiona')
  const app = await story.newAppOf(Fapi2App, 'openid-client')
  const page = await story.newBrowser()

  const pages = await story.signIn(page, app, person)

  assert.deepEqual(pages, ['aip:login', 'pds:sign-in', 'pds:consent', 'aip:consent', 'app:signed-in'])
  await knowsThePerson(app, person)
  await usesTheRepository(app, person, story.lab)

  const { access, refresh } = app.tokens
  assert.equal(await app.refresh(), undefined)
  assert.notEqual(app.tokens.access, access)
  assert.equal(app.tokens.refresh, refresh, 'the profile wants no rotation')
  assert.equal((await app.userinfo()).status, 200)

  await app.revoke()
  await isSignedOut(app, person, story.lab)
}
