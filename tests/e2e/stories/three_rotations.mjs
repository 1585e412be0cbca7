// The key with which AIP proves itself to PDSs is replaced three times, in the database that holds it. Sessions
// from before, during and after each rotation go on with the key that they began with.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { usesTheRepository } from '../lib/life.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'three rotations: sessions from before, during and after each of them refresh with their own key'
export const lab = 'tls'

const ROTATIONS = 3

export async function tell(story) {
  await story.startAip()
  const { aip } = story
  await story.restartAip(() => aip.command('keys', 'import'))
  const sessions = []
  await begin('before')
  for (let number = 1; number <= ROTATIONS; number += 1) {
    const key = await aip.command('keys', 'generate', '--purpose', 'upstream')
    await aip.reload()
    assert.ok((await publishedKeys()).includes(key))
    await begin(`during${number}`)
    // A PDS goes on for ten minutes with the keys that it has read, unless it is restarted.
    await story.lab.withoutPds(() => {})
    await aip.command('keys', 'activate', key, '--now')
    await aip.reload()
    await begin(`after${number}`)
    assert.equal(sessions.at(-1).key, key)
  }

  assert.equal(new Set(sessions.map(({ key }) => key)).size, ROTATIONS + 1)
  for (const { app, person, key, token } of sessions) {
    await until(`AIP to refresh the session of ${person.handle}`, async () => {
      await usesTheRepository(app, person, story.lab)
      const session = await sessionOf(person)
      assert.equal(session.client_key, key)
      return session.refresh_token !== token
    })
  }
  for (const { kid, state, sessions: bound } of await listedKeys()) {
    assert.equal(bound, sessions.filter(({ key }) => key === kid).length, `${kid} is ${state}`)
  }
  const [{ key: oldest }] = sessions
  await assert.rejects(aip.command('keys', 'retire', oldest, '--force', '17'), ({ stderr }) => /not 17/.test(stderr))
  assert.ok((await publishedKeys()).includes(oldest))

  /** Signs a new person in at a new app. The PDS tells a short life, so that AIP refreshes soon. */
  async function begin(when) {
    const person = await story.newPerson(when)
    const scope = 'openid atproto repo:app.bsky.feed.post'
    const app = await story.newApp(OpenidClientApp, { name: when, scope, authMethod: 'client_secret_basic' })
    await story.lab.withToldLifetime(8_000, async () => story.signIn(await story.newBrowser(), app, person))
    const { client_key: key, refresh_token: token } = await sessionOf(person)
    sessions.push({ app, person, key, token })
  }
  async function sessionOf(person) {
    const [session, ...more] = await story.lab.oauthSessions(person.did)
    assert.deepEqual(more, [])
    return session
  }
  async function listedKeys() {
    const keys = JSON.parse(await aip.command('keys', 'list', '--output', 'json'))
    return keys.filter(({ purpose }) => purpose === 'upstream')
  }
  async function publishedKeys() {
    const { keys } = await (await fetch(`${aip.url}/oauth/upstream/jwks.json`)).json()
    return keys.map(({ kid }) => kid)
  }
}
