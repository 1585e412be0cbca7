// The drill of a restore (docs/operators.md, "Backups, and what a restored one loses"): the database of an
// hour ago comes back. What the copy holds is put to the real PDS, which takes each refresh token once.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { isSignedOut, knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'restore: sessions refreshed since the copy must sign in again, the others go on'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const { aip, lab } = story
  const scope = 'openid atproto repo:app.bsky.feed.post'
  const people = {}
  const apps = {}
  for (const name of ['refreshed', 'untouched', 'rotated', 'removed']) {
    people[name] = await story.newPerson(`restore-${name}`)
    apps[name] = await story.newApp(OpenidClientApp, { name, scope, authMethod: 'client_secret_basic' })
    const signIn = async () => story.signIn(await story.newBrowser(), apps[name], people[name])
    await (name === 'refreshed' ? lab.withToldLifetime(8_000, signIn) : signIn())
  }

  await aip.command('backup', 'copy.db')

  const [before] = await lab.oauthSessions(people.refreshed.did)
  await until('AIP to refresh a session after the copy was made', async () => {
    await usesTheRepository(apps.refreshed, people.refreshed, lab)
    const [session] = await lab.oauthSessions(people.refreshed.did)
    return session.refresh_token !== before.refresh_token
  })
  await refreshesItsTokens(apps.rotated)
  await apps.removed.revoke()
  await isSignedOut(apps.removed, people.removed, lab)

  await assert.rejects(aip.command('restore', 'copy.db'), ({ stderr }) => /another `aip serve` runs/.test(stderr))
  await story.restartAip(() => aip.command('restore', 'copy.db'))
  // The time of a copy is kept to the second, in which the last one may have signed in.
  assert.match((await restoredCopy()).found, /[34] session\(s\) not refreshed since/)

  // Refreshed since: its refresh token of then was used once. The PDS ends the session.
  await until('the session that was refreshed since to be refused', async () => {
    const { status } = await apps.refreshed.xrpc('GET', 'com.atproto.server.getSession')
    assert.ok([401, 503].includes(status), `answered ${status}`)
    return status === 401
  })
  assert.deepEqual(await lab.oauthSessions(people.refreshed.did), [])
  const ended = (await lab.endedSessions()).filter(({ did }) => did === people.refreshed.did)
  assert.match(ended.at(-1).cause, /consumeRefreshToken/)
  assert.equal((await apps.refreshed.refresh())?.error, 'invalid_grant')
  const session = await sessionOf('refreshed')
  assert.deepEqual([session.state, session.reason], ['needs_reauth', 'refused'])

  // Not refreshed since: goes on, also with a refresh now.
  await knowsThePerson(apps.untouched, people.untouched)
  await usesTheRepository(apps.untouched, people.untouched, lab)
  await aip.command('sessions', 'refresh', (await sessionOf('untouched')).id)
  await usesTheRepository(apps.untouched, people.untouched, lab)
  await refreshesItsTokens(apps.untouched)
  assert.equal((await sessionOf('untouched')).state, 'active')

  // The tokens that an app got since are unknown, though the session at the PDS goes on.
  assert.equal((await apps.rotated.userinfo()).status, 401)
  assert.equal((await apps.rotated.refresh())?.error, 'invalid_grant')
  assert.equal((await sessionOf('rotated')).state, 'active')

  // What a person took back is allowed again at AIP, until it meets the PDS, which has ended it.
  assert.equal((await apps.removed.userinfo()).status, 200)
  await until('the session that the PDS has ended to be refused', async () => {
    const { status } = await apps.removed.xrpc('GET', 'com.atproto.server.getSession')
    assert.ok([401, 503].includes(status), `answered ${status}`)
    return status === 401
  })

  // Whoever must sign in again can.
  for (const name of ['refreshed', 'rotated']) {
    await story.signIn(await story.newBrowser(), apps[name], people[name])
    await usesTheRepository(apps[name], people[name], lab)
    await refreshesItsTokens(apps[name])
  }

  /** The session of a person that AIP took from the copy. */
  async function sessionOf(name) {
    const sessions = JSON.parse(await aip.command('sessions', 'list', '--did', people[name].did, '--output', 'json'))
    assert.equal(sessions.length, 1)
    return sessions[0]
  }
  /** What `aip doctor` says of the restore, whatever else it finds in a lab. */
  async function restoredCopy() {
    const lines = await aip.command('doctor', '--offline', '--json').catch(({ stdout }) => stdout)
    return JSON.parse(lines).find(({ check }) => check === 'restored copy')
  }
}
