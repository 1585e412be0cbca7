// The key with which AIP proves itself to PDSs is replaced. A PDS binds a session to the key that it began
// with, and ends it when another one comes: the old key stays for its sessions, and cannot be lost by mistake.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { isSignedOut, usesTheRepository } from '../lib/life.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'rotated key: old sessions keep the old key, new ones get the new one, neither is lost'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const { aip } = story
  const [early, late] = [await story.newPerson('ruth'), await story.newPerson('rolf')]
  const scope = 'openid atproto repo:app.bsky.feed.post'
  const [first, second] = [await newApp('First'), await newApp('Second')]
  await story.lab.withToldLifetime(8_000, async () => story.signIn(await story.newBrowser(), first, early))
  const before = await sessionOf(early)
  const oldKey = before.client_key

  const newKey = await aip.command('keys', 'generate', '--purpose', 'upstream')
  await aip.reload()
  assert.deepEqual((await publishedKeys()).sort(), [oldKey, newKey].sort())
  // A PDS goes on for ten minutes with the keys that it has read, unless it is restarted.
  await story.lab.withoutPds(() => {})
  await aip.command('keys', 'activate', newKey, '--now')
  await aip.reload()

  await story.signIn(await story.newBrowser(), second, late)
  assert.equal((await sessionOf(late)).client_key, newKey)
  await until('AIP to refresh the old session', async () => {
    await usesTheRepository(first, early, story.lab)
    const session = await sessionOf(early)
    assert.equal(session.client_key, oldKey)
    return session.refresh_token !== before.refresh_token
  })

  await assert.rejects(aip.command('keys', 'remove', oldKey), ({ stderr }) => /1 session\(s\) are bound to/.test(stderr))
  await usesTheRepository(first, early, story.lab)
  await first.revoke()
  await isSignedOut(first, early, story.lab)
  await aip.command('keys', 'remove', oldKey)
  await aip.reload()
  assert.deepEqual(await publishedKeys(), [newKey])
  await usesTheRepository(second, late, story.lab)

  function newApp(name) {
    return story.newApp(OpenidClientApp, { name, scope, authMethod: 'client_secret_basic' })
  }
  async function sessionOf(person) {
    const [session, ...more] = await story.lab.oauthSessions(person.did)
    assert.deepEqual(more, [])
    return session
  }
  async function publishedKeys() {
    const { keys } = await (await fetch(`${aip.url}/oauth/upstream/jwks.json`)).json()
    return keys.map(({ kid }) => kid)
  }
}
