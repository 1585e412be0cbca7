// The life of an app's session, in steps that every kind of app goes through in the same way.

import assert from 'node:assert/strict'
import { until } from './poll.mjs'

const collection = 'app.bsky.feed.post'

/** The app knows who signed in, by the id_token that its library checked and by userinfo. */
export async function knowsThePerson(app, person) {
  const { claims, tokens } = await app.held()
  assert.equal(claims.sub, person.did)
  assert.ok(tokens.access && tokens.refresh, 'an access token and a refresh token')
  const { status, body } = await app.userinfo()
  assert.equal(status, 200)
  assert.equal(body.sub, person.did)
}

/** The app writes a record of the person through AIP and reads it back; the PDS shows it to the world. */
export async function usesTheRepository(app, person, lab) {
  const record = { $type: collection, text: 'Written through AIP', createdAt: new Date().toISOString() }
  const created = await app.xrpc('POST', 'com.atproto.repo.createRecord', { json: { repo: person.did, collection, record } })
  assert.equal(created.status, 200, JSON.stringify(created))
  const { uri } = created.body

  const rkey = uri.split('/').at(-1)
  const read = await app.xrpc('GET', 'com.atproto.repo.getRecord', { query: { repo: person.did, collection, rkey } })
  assert.equal(read.status, 200, JSON.stringify(read))
  assert.deepEqual(read.body.value, record)
  assert.deepEqual((await lab.publicRecord(uri)).value, record)
}

/** The app gets new tokens for its refresh token, and they work. */
export async function refreshesItsTokens(app) {
  const { tokens: before } = await app.held()
  assert.equal(await app.refresh(), undefined)
  const { tokens: after } = await app.held()
  assert.notEqual(after.access, before.access)
  assert.notEqual(after.refresh, before.refresh)
  assert.equal((await app.userinfo()).status, 200)
}

/** What the app still holds is worth nothing at AIP, and the PDS has `others` sessions left. */
export async function isSignedOut(app, person, lab, { others = 0 } = {}) {
  assert.equal((await app.userinfo()).status, 401)
  assert.equal((await app.xrpc('GET', 'com.atproto.server.getSession')).status, 401)
  assert.equal((await app.refresh())?.error, 'invalid_grant')
  await until('the session at the PDS to be gone', async () => (await lab.oauthSessions(person.did)).length === others)
}
