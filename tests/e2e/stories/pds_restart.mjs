// The PDS goes away and comes back, as at an upgrade. What AIP cannot do meanwhile it says in a way that
// an app can wait for; what it need not ask the PDS for goes on; nobody signs in again.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'PDS restart: a clear "later" while it is away, the same session afterwards'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('petra')
  const scope = 'openid atproto repo:app.bsky.feed.post'
  const app = await story.newApp(OpenidClientApp, { name: 'Notes', scope, authMethod: 'client_secret_basic' })
  const page = await story.newBrowser()
  await story.lab.withToldLifetime(15_000, () => story.signIn(page, app, person))
  await usesTheRepository(app, person, story.lab)
  const [before] = await story.lab.oauthSessions(person.did)

  await story.lab.withoutPds(async () => {
    await until('the session to need a refresh', async () => (await isPutOff(app)) === 503)
    await knowsThePerson(app, person)
    await refreshesItsTokens(app)
    assert.equal(await isPutOff(app), 503)
  })

  await until('AIP to refresh the session', async () => {
    const { status } = await app.xrpc('GET', 'com.atproto.server.getSession')
    const [session, ...more] = await story.lab.oauthSessions(person.did)
    assert.deepEqual(more, [])
    return status === 200 && session.refresh_token !== before.refresh_token
  }, 120_000)
  await usesTheRepository(app, person, story.lab)
  await refreshesItsTokens(app)
}

/**
 * A use while the PDS is away. As long as the access token lives, the call is carried to the PDS and
 * fails there (502); then the session must be refreshed first, and AIP says when to ask again (503).
 */
async function isPutOff(app) {
  const { status, body, retryAfter } = await app.xrpc('GET', 'com.atproto.server.getSession')
  assert.ok(status === 502 || status === 503, `answered ${status}`)
  assert.equal(body.error, 'UpstreamFailure')
  assert.notEqual(body.message, '')
  if (status === 503) assert.ok(Number(retryAfter) >= 1, `Retry-After: ${retryAfter}`)
  return status
}
