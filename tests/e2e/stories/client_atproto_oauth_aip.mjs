// An app in Rust with the crate atproto-oauth-aip, which apps of AIP v2 are made with: it pushes its request,
// exchanges its token for the session at the PDS, and gets a token of its own. Over TLS, as the crate demands.

import assert from 'node:assert/strict'
import { AtprotoOauthAipApp } from '../clients/atproto_oauth_aip_app.mjs'

export const name = 'atproto-oauth-aip: PAR, code, the session at the PDS with its credentials, and client credentials'
export const lab = 'tls'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('rusty')
  const app = await story.newAppOf(AtprotoOauthAipApp, 'atproto-oauth-aip')
  app.handle = person.handle
  const page = await story.newBrowser()

  const refused = await story.signIn(page, app, person, { consent: 'deny' })
  assert.deepEqual(refused.slice(-2), ['aip:consent', 'app:refused'])

  const pages = await story.signIn(page, app, person)
  assert.deepEqual(pages.slice(-2), ['aip:consent', 'app:signed-in'])
  assert.equal(await page.locator('main#signed-in').innerText(), person.did)

  const { session } = app
  assert.equal(session.did, person.did)
  assert.equal(session.handle, person.handle)
  assert.equal(session.pds_endpoint, story.lab.pds)
  assert.equal(session.token_type, 'dpop')
  assert.ok(session.expires_at > Date.now() / 1000)
  const { status, body } = await app.callPds('com.atproto.server.getSession')
  assert.deepEqual([status, body.did], [200, person.did], JSON.stringify(body))

  // Through AIP it works as for any other app.
  const forwarded = await app.xrpc('GET', 'com.atproto.server.getSession')
  assert.deepEqual([forwarded.status, forwarded.body.did], [200, person.did])

  const own = await app.ownToken()
  assert.equal(own.token_type, 'Bearer')
  assert.equal(own.refresh_token, null)
  const { status: nobody } = await fetch(`${story.aip.url}/oauth/userinfo`, { headers: { authorization: `Bearer ${own.access_token}` } })
  assert.equal(nobody, 401, 'it is about no person')
}
