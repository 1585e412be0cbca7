// AIP judges the request that the PDS will execute. The session at the PDS may do everything, the app's
// token next to nothing: whatever the PDS reads differently from AIP would be a way around the token.

import assert from 'node:assert/strict'
import zlib from 'node:zlib'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'

export const name = 'xrpc scope: no letter case, proxy header, charset or coding leads around the token'
export const lab = 'http'

const collection = 'app.bsky.feed.post'
const appview = 'did:web:api.bsky.app#bsky_appview'
const create = 'com.atproto.repo.createRecord'
const json = { 'content-type': 'application/json' }

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('gina')
  const scope = 'openid atproto transition:generic'
  const app = await story.newApp(OpenidClientApp, { name: 'Narrow', scope, authMethod: 'client_secret_basic' })
  const page = await story.newBrowser()
  await story.signIn(page, app, person)
  const record = (text) => ({ repo: person.did, collection, record: { text, createdAt: new Date().toISOString() } })
  const records = async () => {
    const query = new URLSearchParams({ repo: person.did, collection })
    const listed = await fetch(`${story.lab.pds}/xrpc/com.atproto.repo.listRecords?${query}`)
    return (await listed.json()).records.map((it) => it.value.text)
  }

  const first = await app.raw('POST', `/xrpc/${create}`, { headers: json, body: JSON.stringify(record('allowed')) })
  assert.equal(first.status, 200, first.text)
  const written = await records()
  assert.deepEqual(written, ['allowed'])

  const audience = appview.replace('#', '%23')
  assert.equal(await app.refresh(`atproto rpc:${create}?aud=${audience}`), undefined)
  for (const [what, path, headers, body] of attacks(record('smuggled'))) {
    const answer = await app.raw('POST', `/xrpc/${path}`, { headers, body })
    assert.ok(answer.status >= 400 && answer.status < 500, `${what}: ${answer.status} ${answer.text}`)
    assert.deepEqual(await records(), written, what)
  }
  await nothingIsDoneInDisguise(app)
}

/** What the reference PDS would take for createRecord, by what it would do it for. */
function attacks(call) {
  const body = JSON.stringify(call)
  const utf16 = Buffer.from(body, 'utf16le')
  const utf7 = body.replaceAll('{', '+AHs-')
  const typed = (value) => ({ 'content-type': value })
  const batch = (type) => JSON.stringify({ repo: call.repo, writes: [{ $type: type, collection, value: call.record }] })
  return [
    ['the plain call', create, json, body],
    ['a proxy header', create, { ...json, 'atproto-proxy': appview }, body],
    ['an empty proxy header', create, { ...json, 'atproto-proxy': '' }, body],
    ['a proxy header that does not parse', create, { ...json, 'atproto-proxy': 'did:web:api.bsky.app' }, body],
    ['two services in one header', create, { ...json, 'atproto-proxy': `${appview}, did:web:x.example#y` }, body],
    ['small letters', create.toLowerCase(), json, body],
    ['small letters and a proxy header', create.toLowerCase(), { ...json, 'atproto-proxy': appview }, body],
    ['capital letters', create.toUpperCase(), { ...json, 'atproto-proxy': appview }, body],
    ['a slash at the end', `${create}/`, { ...json, 'atproto-proxy': appview }, body],
    ['an encoded letter', create.replace('c', '%63'), { ...json, 'atproto-proxy': appview }, body],
    ['two slashes', `/${create}`, { ...json, 'atproto-proxy': appview }, body],
    ['UTF-7', create, typed('application/json; charset=utf-7'), utf7],
    ['UTF-16', create, typed('application/json; charset=utf-16le'), utf16],
    ['gzip', create, { ...json, 'content-encoding': 'gzip' }, zlib.gzipSync(body)],
    ['deflate', create, { ...json, 'content-encoding': 'deflate' }, zlib.deflateSync(body)],
    ['another method, overridden', create, { ...json, 'x-http-method-override': 'POST', 'atproto-proxy': appview }, body],
    ['applyWrites', 'com.atproto.repo.applyWrites', json, batch('com.atproto.repo.applyWrites#create')],
    ['applyWrites with a proxy header', 'com.atproto.repo.applyWrites', { ...json, 'atproto-proxy': appview }, batch('com.atproto.repo.applyWrites#create')],
    ['applyWrites with a short type', 'com.atproto.repo.applyWrites', json, batch('#create')],
    ['putRecord', 'com.atproto.repo.putrecord', json, JSON.stringify({ ...call, rkey: '3jzfcijpj2z2a' })],
  ]
}

/** Methods of the account's own that need scopes of their own. */
async function nothingIsDoneInDisguise(app) {
  for (const method of [
    'com.atproto.server.activateAccount',
    'com.atproto.server.confirmEmail',
    'com.atproto.server.requestEmailConfirmation',
    'com.atproto.server.requestEmailUpdate',
    'com.atproto.server.createAppPassword',
    'com.atproto.server.RequestEmailConfirmation',
    'com.atproto.identity.updatehandle',
    'com.atproto.future.method',
  ]) {
    for (const proxy of [{}, { 'atproto-proxy': appview }]) {
      const answer = await app.raw('POST', `/xrpc/${method}`, { headers: { ...json, ...proxy }, body: '{}' })
      assert.ok([400, 403].includes(answer.status), `${method}: ${answer.status} ${answer.text}`)
    }
  }
  for (const path of ['com.atproto.server.getSession', 'com.atproto.server.getsession']) {
    const answer = await app.raw('GET', `/xrpc/${path}`, { headers: { range: 'bytes=0-999' } })
    assert.ok(!answer.text.includes('@'), `${path} tells an address: ${answer.text}`)
  }
}
