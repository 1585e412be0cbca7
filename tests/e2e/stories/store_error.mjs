// The reference PDS says `invalid_grant` also when it cannot read its own store. The token is good: whoever
// believes the first answer ends a session that was never in danger.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'store error: a token that the PDS could not look up is sent once more, and is good'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('stella')
  const app = await story.newApp(OpenidClientApp, { name: 'Notes', scope: 'openid atproto repo:app.bsky.feed.post' })
  const page = await story.newBrowser()
  await story.lab.withToldLifetime(2_000, () => story.signIn(page, app, person))
  const [before] = await story.lab.oauthSessions(person.did)

  await story.lab.failNextLookUp()
  await until('the session to be refreshed', async () => {
    const { status } = await app.xrpc('GET', 'com.atproto.server.getSession')
    assert.notEqual(status, 401)
    const sessions = await story.lab.oauthSessions(person.did)
    assert.equal(sessions.length, 1)
    return status === 200 && sessions[0].refresh_token !== before.refresh_token
  })
}
