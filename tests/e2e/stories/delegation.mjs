// Two people, two browsers: an owner lets somebody of the team post for the account, sees what was posted,
// and takes it back. The PDS knows of the owner's session alone.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { letAct } from '../lib/let_act.mjs'

export const name = 'delegation: a team posts for an account, by header and by exchanged token, until it is taken back'
export const lab = 'http'
export const onBothReleases = true

const collection = 'app.bsky.feed.post'
const create = 'com.atproto.repo.createRecord'
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessToken = 'urn:ietf:params:oauth:token-type:access_token'

export async function tell(story) {
  await story.startAip()
  const owner = await story.newPerson('newspaper')
  const editor = await story.newPerson('erin')
  const scope = `openid atproto repo:${collection} repo:app.bsky.feed.like`
  const grants = ['authorization_code', 'refresh_token', exchangeGrant]
  const app = await story.newApp(OpenidClientApp, {
    name: 'Newsroom',
    scope,
    authMethod: 'client_secret_basic',
    more: () => ['--application-type', 'native', ...grants.flatMap((grant) => ['--grant-type', grant])],
  })
  const posts = async () => {
    const query = new URLSearchParams({ repo: owner.did, collection })
    const listed = await fetch(`${story.lab.pds}/xrpc/com.atproto.repo.listRecords?${query}`)
    return (await listed.json()).records.map((it) => it.value.text)
  }
  const call = (text, of = collection) => ({
    headers: { 'content-type': 'application/json', 'x-aip-account': owner.did },
    body: JSON.stringify({ repo: owner.did, collection: of, record: { $type: of, text, createdAt: new Date().toISOString() } }),
  })

  const editors = await story.newBrowser()
  await story.signIn(editors, app, editor)
  const early = await app.raw('POST', `/xrpc/${create}`, call('too early'))
  assert.equal(early.status, 403, early.text)

  const owners = await story.newBrowser()
  await letAct(story, owners, owner, editor)
  const first = await app.raw('POST', `/xrpc/${create}`, call('by header'))
  assert.equal(first.status, 200, first.text)
  assert.deepEqual(await posts(), ['by header'])
  const like = await app.raw('POST', `/xrpc/${create}`, call('a like', 'app.bsky.feed.like'))
  assert.equal(like.status, 403, like.text)

  const exchanged = await exchange(story, app, owner)
  assert.equal(exchanged.status, 200, JSON.stringify(exchanged.body))
  assert.equal(exchanged.body.refresh_token, undefined)
  const { headers, body } = call('by exchanged token')
  delete headers['x-aip-account']
  headers.authorization = `Bearer ${exchanged.body.access_token}`
  const second = () => fetch(`${story.aip.url}/xrpc/${create}`, { method: 'POST', headers, body })
  assert.equal((await second()).status, 200)
  assert.deepEqual((await posts()).sort(), ['by exchanged token', 'by header'])

  await owners.goto(`${story.aip.url}/account`)
  await owners.getByText('What others did last').click()
  assert.equal(await owners.getByText(`${create}: create ${collection}`).count(), 2)
  await owners.locator('button.take-back').click()
  await owners.locator('li.delegation').waitFor({ state: 'detached' })
  const late = await app.raw('POST', `/xrpc/${create}`, call('too late'))
  assert.equal(late.status, 403, late.text)
  assert.equal((await second()).status, 401)
  assert.equal((await exchange(story, app, owner)).status, 400)
  assert.equal((await posts()).length, 2)
}

/** The app swaps the editor's token for one that acts for the owner (RFC 8693). */
async function exchange(story, app, owner) {
  const { tokens } = await app.held()
  const response = await fetch(`${story.aip.url}/oauth/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${encodeURIComponent(app.clientId)}:${encodeURIComponent(app.clientSecret)}`)}` },
    body: new URLSearchParams({
      grant_type: exchangeGrant,
      subject_token: tokens.access,
      subject_token_type: accessToken,
      requested_subject: owner.did,
    }),
  })
  return { status: response.status, body: await response.json() }
}
