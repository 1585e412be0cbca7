// A person makes an app password at their PDS and gives it to an app, whose calls are made with it from then
// on, within what its token allows. When they take it back, the calls are made with the OAuth session again.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'

export const name = 'app password: given to an app, used for its calls, taken back at the PDS and at AIP'
export const lab = 'http'
export const onBothReleases = true

const path = '/api/atprotocol/app-password'
const form = { 'content-type': 'application/x-www-form-urlencoded' }
const post = 'app.bsky.feed.post'

export async function tell(story) {
  const { lab } = story
  await story.startAip()
  const person = await story.newPerson('ada')
  const scope = `openid profile atproto repo:${post}`
  const app = await story.newApp(OpenidClientApp, { name: 'Notes', scope, authMethod: 'client_secret_basic' })
  const page = await story.newBrowser()
  await story.signIn(page, app, person)

  const identity = { identifier: person.handle, password: person.password }
  const { accessJwt: token } = await lab.xrpc('POST', 'com.atproto.server.createSession', { json: identity })
  const give = async (name) => {
    const made = await lab.xrpc('POST', 'com.atproto.server.createAppPassword', { json: { name }, token })
    const body = new URLSearchParams({ 'app-password': made.password }).toString()
    const given = await app.raw('POST', path, { headers: form, body })
    assert.equal(given.status, 200, given.text)
    assert.ok(!given.text.includes(made.password))
  }
  const write = async (text, collection = post) => {
    const record = { $type: collection, text, createdAt: new Date().toISOString() }
    const body = JSON.stringify({ repo: person.did, collection, record })
    const headers = { 'content-type': 'application/json' }
    const { status, text: answer } = await app.raw('POST', '/xrpc/com.atproto.repo.createRecord', { headers, body })
    return { status, body: JSON.parse(answer) }
  }
  const writes = async (text) => {
    const { status, body } = await write(text)
    assert.equal(status, 200, JSON.stringify(body))
    assert.equal((await lab.publicRecord(body.uri)).value.text, text)
  }
  const sessions = async (kind) => {
    const listed = await story.aip.command('sessions', 'list', '--did', person.did, '--output', 'json')
    return JSON.parse(listed).filter((it) => it.kind === kind)
  }

  const main = new URLSearchParams({ 'app-password': person.password }).toString()
  const refused = await app.raw('POST', path, { headers: form, body: main })
  assert.equal(refused.status, 400, refused.text)

  // Taken back at the PDS: no refresh is possible any more, and the app notices nothing.
  await give('first')
  await writes('with the first app password')
  await lab.xrpc('POST', 'com.atproto.server.revokeAppPassword', { json: { name: 'first' }, token })
  const [first] = await sessions('app_password')
  await assert.rejects(story.aip.command('sessions', 'refresh', first.id), /sign in again/)
  assert.equal((await sessions('app_password'))[0].state, 'needs_reauth')
  // What AIP read with an access token counts for a second; with a new one it reads anew.
  assert.equal(await app.refresh(), undefined)
  await writes('with the OAuth session')

  // It is the app password that is used: the PDS has no OAuth session any more.
  await give('second')
  assert.equal(await app.refresh(), undefined)
  await lab.endOauthSessions(person.did)
  assert.deepEqual(await lab.oauthSessions(person.did), [])
  await writes('with the second app password')
  // It could do much more, were it not for the token.
  const like = await write('a like', 'app.bsky.feed.like')
  assert.deepEqual([like.status, like.body.error], [403, 'insufficient_scope'])
  const email = await app.xrpc('GET', 'com.atproto.server.getSession')
  assert.equal(email.status, 200, JSON.stringify(email.body))
  assert.equal(email.body.email, undefined, 'the address is not for this token')

  // Taken back at AIP: what is left is the OAuth session, which the PDS does not know any more.
  const removed = await app.raw('DELETE', path)
  assert.equal(removed.status, 204, removed.text)
  const late = await write('too late')
  assert.equal(late.status, 401, JSON.stringify(late.body))
}
