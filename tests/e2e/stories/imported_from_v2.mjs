// AIP takes the place of AIP v2: sessions that the real PDS gave to v2 are refreshed by AIP, with v2's key
// and client id, and the app goes on with the tokens that it has.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { V2Database, V2Server, refreshAsApp } from '../apps/v2_server.mjs'

export const name = 'import from AIP v2: nobody signs in again, and the PDS keeps every session'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const { aip } = story
  const people = [await story.newPerson('vera'), await story.newPerson('vito')]
  const database = await V2Database.start()
  story.whenOver(() => database.stop())
  const settings = fs.mkdtempSync(path.join(os.tmpdir(), 'aip-v2-settings-'))
  story.whenOver(async () => fs.rmSync(settings, { recursive: true }))
  const tokens = []
  let kid

  await story.restartAip(async () => {
    const v2 = await V2Server.start({ lab: story.lab, url: aip.url })
    kid = v2.kid
    for (const person of people) {
      const page = await story.newBrowser()
      await story.signIn(page, { loginUrl: await v2.loginUrl(person) }, person)
      tokens.push(await v2.write(database, person))
    }
    const [url, keys] = ['url', 'keys'].map((file) => path.join(settings, file))
    fs.writeFileSync(url, database.url, { mode: 0o600 })
    fs.writeFileSync(keys, v2.signingKeys, { mode: 0o600 })
    const run = async (...more) => {
      const args = ['import', 'aip-v2', '--from-file', url, '--atproto-keys', keys, '--output', 'json', ...more]
      return JSON.parse(await aip.command(...args))
    }
    const held = await run()
    assert.equal(held.held_sessions, people.length, JSON.stringify(held))
    await v2.stop()
    const done = await run('--finish')
    assert.equal(done.released_sessions, people.length, JSON.stringify(done))
    assert.deepEqual(done.left_out, [])
  })

  for (const [number, person] of people.entries()) {
    const [before] = await story.lab.oauthSessions(person.did)
    assert.equal(before.client_key, kid)
    const { status, body } = await refreshAsApp(aip.url, tokens[number].refresh)
    assert.equal(status, 200, JSON.stringify(body))
    for (const access of [tokens[number].access, body.access_token]) {
      const userinfo = await call(access, '/oauth/userinfo')
      assert.equal(userinfo.sub, person.did)
    }
    const [session, ...more] = JSON.parse(await aip.command('sessions', 'list', '--did', person.did, '--output', 'json'))
    assert.deepEqual(more, [])
    await aip.command('sessions', 'refresh', session.id)
    const [after, ...others] = await story.lab.oauthSessions(person.did)
    assert.deepEqual(others, [], 'the PDS kept the session and made no other')
    assert.notEqual(after.refresh_token, before.refresh_token)
    assert.equal(after.client_key, kid)
    const called = await call(body.access_token, '/xrpc/com.atproto.server.getSession')
    assert.equal(called.did, person.did)
  }

  async function call(token, path) {
    const response = await fetch(`${aip.url}${path}`, { headers: { authorization: `Bearer ${token}` } })
    assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`)
    return response.json()
  }
}
