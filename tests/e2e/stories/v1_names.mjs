// An app of AIP v1 with `compat.v1`: two people sign in by a form and by a link of v1, one posts for the other by
// `X-Subject` once they are let, and the owner takes it back by v1's permissions.

import assert from 'node:assert/strict'
import { V1App } from '../apps/v1_app.mjs'
import { letAct } from '../lib/let_act.mjs'
import { walkOn } from '../lib/walk.mjs'

export const name = 'names of v1: sign-in by form and link, me, resolve, X-Subject and permissions'
export const lab = 'http'

const collection = 'app.bsky.feed.post'
const create = '/xrpc/com.atproto.repo.createRecord'
const permissions = '/internal/api/permissions'

export async function tell(story) {
  await story.startAip({ AIP_COMPAT_V1: 'true', AIP_COMPAT_V1_CLIENT: 'v1-apps' })
  const app = await story.newApp(V1App, {
    name: 'Of version 1',
    scope: `atproto repo:${collection}`,
    authMethod: 'client_secret_basic',
    more: () => ['--application-type', 'native', '--id', 'v1-apps', '--require-pkce', 'false'],
  })
  const owner = await story.newPerson('paper')
  const editor = await story.newPerson('edna')

  const editors = await story.newBrowser()
  await editors.goto(app.formUrl)
  await editors.locator('input[name=subject]').fill(editor.handle)
  await editors.locator('button').click()
  const byForm = await walkOn(editors, { person: editor })
  assert.ok(byForm.includes('aip:consent') && byForm.at(-1) === 'app:signed-in', byForm.join())
  assert.ok(!editors.url().includes('auth_token'), 'no token is in a URL')
  const editorsToken = app.held().access

  const me = await app.call(editorsToken, 'GET', '/internal/api/me')
  const known = { did: editor.did, guid: editor.did, handle: editor.handle, pds: story.lab.pds }
  assert.deepEqual(me.body, { ...known, oauth_session_valid: true, app_password_session_valid: false })
  const url = `${story.aip.url}/internal/api/me?auth_token=${editorsToken}`
  assert.equal((await fetch(url)).status, 401, 'nor is one taken from there')

  const post = (text, as, more = {}) => app.call(editorsToken, 'POST', create, {
    headers: { 'x-subject': as.did, ...more },
    json: { repo: as.did, collection, record: { $type: collection, text, createdAt: new Date().toISOString() } },
  })
  assert.equal((await post('my own', editor)).status, 200)
  assert.equal((await post('not let', owner)).status, 403)

  const owners = await story.newBrowser()
  const byLink = await story.signIn(owners, app, owner)
  assert.equal(byLink.at(-1), 'app:signed-in')
  const ownersToken = app.held().access
  const patch = (...operations) => app.call(ownersToken, 'POST', permissions, { json: operations })
  const path = `/${editor.did}`
  assert.deepEqual((await patch({ op: 'test', path })).body, [])
  const asked = await patch({ op: 'add', path, value: 1 })
  assert.deepEqual([asked.status, asked.body.error], [403, 'consent_required'])
  assert.ok(asked.body.error_description.includes(`${story.aip.url}/account`), asked.body.error_description)
  await letAct(story, owners, owner, editor)
  assert.deepEqual((await patch({ op: 'test', path })).body, [{ path, value: 1 }])

  assert.equal((await post('for the paper', owner, { 'x-service': story.lab.pds })).status, 200)
  assert.equal((await post('elsewhere', owner, { 'x-service': 'evil.example' })).status, 400)
  // Only /xrpc acts for others, and credentials are for nobody without the scope.
  for (const who of [owner, editor]) {
    const headers = { 'x-subject': who.did }
    const refused = await app.call(editorsToken, 'GET', '/internal/api/credentials', { headers })
    assert.equal(refused.status, 403, JSON.stringify(refused.body))
  }
  assert.equal((await app.call(editorsToken, 'GET', '/internal/api/me', { headers: { 'x-subject': owner.did } })).status, 403)

  assert.deepEqual((await patch({ op: 'remove', path })).body, [])
  assert.equal((await post('taken back', owner)).status, 403)
  const posts = async (person) => {
    const query = new URLSearchParams({ repo: person.did, collection })
    const listed = await fetch(`${story.lab.pds}/xrpc/com.atproto.repo.listRecords?${query}`)
    return (await listed.json()).records.map((it) => it.value.text)
  }
  assert.deepEqual([await posts(editor), await posts(owner)], [['my own'], ['for the paper']])

  const query = new URLSearchParams([['subject', owner.did], ['subject', 'nobody.test'], ['subject', editor.handle]])
  const found = await (await fetch(`${story.aip.url}/internal/api/resolve?${query}`)).json()
  assert.deepEqual(found.map((it) => [it.did, it.handle]), [[owner.did, owner.handle], [editor.did, editor.handle]])
}
