// The PDS ends a session whose access token runs out between its two looks at it (docs/compatibility.md).
// While no refresh is possible AIP has nothing but a token that gets older: it must stop in time.

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'end of a token: while no refresh is possible, the old one is not used up to its end'
export const lab = 'tls'
export const onBothReleases = true

const LIFE_MS = 20_000

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('edda')
  const scope = 'openid atproto repo:app.bsky.feed.post'
  const app = await story.newApp(OpenidClientApp, { name: 'Notes', scope, authMethod: 'client_secret_basic' })
  const page = await story.newBrowser()
  const { lab } = story
  await lab.withAccessTokenLifetime(LIFE_MS, () => story.signIn(page, app, person))
  const since = Date.now()

  await lab.withRowRead(1_600, () => lab.withTokenEndpoint(429, async () => {
    // Calls follow one another closely, so that no moment is left out in which one would end the session.
    const answers = { before: new Set(), after: new Set() }
    const calls = []
    while (Date.now() < since + LIFE_MS + 2000) {
      const seen = Date.now() < since + LIFE_MS - 2000 ? answers.before : answers.after
      calls.push(app.xrpc('GET', 'com.atproto.server.getSession').then(({ status }) => seen.add(status)))
      await sleep(200)
    }
    await Promise.all(calls)
    assert.ok(answers.before.has(200), 'it is used while its end is far')
    assert.deepEqual([...answers.after], [503], 'then the app is told to come again')
  }))
  const ended = (await lab.endedSessions()).filter(({ did }) => did === person.did)
  assert.deepEqual(ended, [], 'the PDS has ended nothing')
  await until('the session to be refreshed', async () => {
    const { status } = await app.xrpc('GET', 'com.atproto.server.getSession')
    return status === 200
  }, 60_000)
}
