// What AIP keeps of a session at the PDS (tokens, DPoP key, the key of the client assertion) outlives
// the process, and is enough to refresh the session when its access token has aged.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'restart: AIP goes on with a session on its data, and refreshes it at the PDS'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('rosa')
  const app = await story.newApp(OpenidClientApp, { name: 'Notes', scope: 'openid atproto repo:app.bsky.feed.post' })
  const page = await story.newBrowser()
  const signIn = () => story.signIn(page, app, person)
  await story.lab.withToldLifetime(8_000, signIn)
  const [before] = await story.lab.oauthSessions(person.did)

  await story.restartAip()
  await knowsThePerson(app, person)
  await refreshesItsTokens(app)

  await until('AIP to refresh the session at the PDS', async () => {
    await usesTheRepository(app, person, story.lab)
    const sessions = await story.lab.oauthSessions(person.did)
    assert.equal(sessions.length, 1)
    return sessions[0].refresh_token !== before.refresh_token
  })
  await usesTheRepository(app, person, story.lab)
}
