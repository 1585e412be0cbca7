// The sandbox PDS answers what the official lexicons say, and refuses the records that the reference PDS
// refuses. The lexicons are those of the reference PDS.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { e2eDir } from '../lib/cache.mjs'
import { until } from '../lib/poll.mjs'
import { Program, freePort } from '../lib/process.mjs'

export const name = 'sandbox: every answer of the PDS stand-in is valid by the official lexicons'
export const lab = 'http'

const modules = path.join(e2eDir, 'node_modules', '@atproto')
const load = (file) => import(pathToFileURL(path.join(modules, file)))
const collection = 'app.bsky.feed.post'
const alice = { identifier: 'alice.test', password: 'alice-pass' }
const post = (text) => ({ $type: collection, text, createdAt: new Date().toISOString() })

export async function tell(story) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-'))
  const [aip, plc, pds, demo] = [await freePort(), await freePort(), await freePort(), await freePort()]
  const ports = ['--aip-port', aip, '--plc-port', plc, '--pds-port', pds, '--demo-port', demo].map(String)
  const log = path.join(folder, 'sandbox.log')
  const program = new Program('aip-sandbox', path.resolve(process.env.AIP_SANDBOX_BIN), ports, { env: process.env, log })
  try {
    const site = await Site.open(`http://127.0.0.1:${pds}`, program)
    await everyMethodAnswersByItsLexicon(site)
    await knownRecordsAreChecked(site, story)
  } finally {
    await program.stop()
  }
}

class Site {
  called = new Set()

  static async open(url, program) {
    const lexicons = await load('pds/dist/lexicons/index.js')
    const { jsonToLex } = await load('lex-json/dist/index.js')
    const site = new Site(url, lexicons, jsonToLex)
    const up = until('the sandbox to listen', () => fetch(`${url}/xrpc/_health`).then((it) => it.ok, () => false))
    await program.whileRunning(up)
    return site
  }

  constructor(url, lexicons, jsonToLex) {
    Object.assign(this, { url, lexicons, jsonToLex })
  }

  /** Calls a method as somebody and returns its answer. */
  async call(nsid, { query = {}, json, body, type, as } = {}) {
    const headers = {}
    if (as) headers.authorization = `Bearer ${as}`
    if (json || type) headers['content-type'] = type ?? 'application/json'
    const method = this.schema(nsid).type === 'procedure' ? 'POST' : 'GET'
    const url = `${this.url}/xrpc/${nsid}?${new URLSearchParams(query)}`
    return fetch(url, { method, headers, body: body ?? (json && JSON.stringify(json)) })
  }

  /** The same, when it must succeed by its lexicon. */
  async ask(nsid, options) {
    const response = await this.call(nsid, options)
    this.called.add(nsid)
    const { output } = this.schema(nsid)
    if (!response.ok) assert.fail(`${nsid}: ${response.status} ${await response.text()}`)
    if (!output?.schema) return response
    const media = response.headers.get('content-type').split(';')[0]
    assert.ok(output.matchesEncoding(media), `${nsid}: ${media}`)
    const answer = await response.json()
    const judged = output.schema.safeValidate(this.jsonToLex(answer))
    assert.ok(judged.success, `${nsid}: ${judged.reason?.message} in ${JSON.stringify(answer)}`)
    return answer
  }

  schema(nsid) {
    return nsid.split('.').reduce((found, part) => found[part], this.lexicons).main
  }
}

async function everyMethodAnswersByItsLexicon(site) {
  let session = await site.ask('com.atproto.server.createSession', { json: alice })
  session = await site.ask('com.atproto.server.refreshSession', { as: session.refreshJwt })
  const as = session.accessJwt
  const { did: repo } = await site.ask('com.atproto.server.getSession', { as })
  await site.ask('com.atproto.server.describeServer')
  await site.ask('com.atproto.server.createAppPassword', { as, json: { name: 'other' } })
  await site.ask('com.atproto.server.listAppPasswords', { as })
  await site.ask('com.atproto.server.revokeAppPassword', { as, json: { name: 'other' } })
  const lxm = 'app.bsky.feed.getTimeline'
  await site.ask('com.atproto.server.getServiceAuth', { as, query: { aud: 'did:web:api.bsky.app', lxm } })

  const created = await site.ask('com.atproto.repo.createRecord', { as, json: { repo, collection, record: post('one') } })
  const rkey = created.uri.split('/').at(-1)
  await site.ask('com.atproto.repo.putRecord', { as, json: { repo, collection, rkey, record: post('two') } })
  await site.ask('com.atproto.repo.getRecord', { query: { repo, collection, rkey } })
  await site.ask('com.atproto.repo.listRecords', { query: { repo, collection } })
  const write = (action, more) => ({ $type: `com.atproto.repo.applyWrites#${action}`, collection, ...more })
  const writes = [write('create', { value: post('three') }), write('update', { rkey, value: post('four') }), write('delete', { rkey })]
  const { results } = await site.ask('com.atproto.repo.applyWrites', { as, json: { repo, writes } })
  assert.deepEqual(results.map((it) => it.$type.split('#')[1]), ['createResult', 'updateResult', 'deleteResult'])
  const described = await site.ask('com.atproto.repo.describeRepo', { query: { repo } })
  assert.deepEqual(described.collections, [collection])
  await site.ask('com.atproto.repo.deleteRecord', { as, json: { repo, collection, rkey } })
  const { blob } = await site.ask('com.atproto.repo.uploadBlob', { as, body: 'bytes', type: 'text/plain' })
  await site.ask('com.atproto.sync.getBlob', { query: { did: repo, cid: blob.ref.$link } })
  const { active } = await site.ask('com.atproto.sync.getRepoStatus', { query: { did: repo } })
  assert.equal(active, true)
  await site.ask('com.atproto.identity.resolveHandle', { query: { handle: 'alice.test' } })
  await site.ask('com.atproto.identity.updateHandle', { as, json: { handle: 'alice.test' } })
  await site.ask('com.atproto.server.deleteSession', { as: session.refreshJwt })

  const source = path.join(e2eDir, '../../crates/aip-sandbox/src/pds/xrpc/mod.rs')
  const served = new Set(fs.readFileSync(source, 'utf8').match(/com\.atproto\.\w+\.\w+/g))
  assert.deepEqual([...served].filter((nsid) => !site.called.has(nsid)), [], 'every method of the sandbox is called here')
}

/** What the real PDS of the lab refuses is refused here, with the same status. */
async function knownRecordsAreChecked(site, story) {
  const { accessJwt, did } = await site.ask('com.atproto.server.createSession', { json: alice })
  const person = await story.newPerson('lexi')
  const real = new Site(story.lab.pds, site.lexicons, site.jsonToLex)
  const there = await real.ask('com.atproto.server.createSession', { json: { identifier: person.handle, password: person.password } })
  const now = new Date().toISOString()
  const strong = { uri: `at://${did}/${collection}/3jzfcijpj2z2a`, cid: 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a' }
  for (const [of, record, more] of [
    [collection, {}],
    [collection, { text: 'no time' }],
    [collection, { text: 7, createdAt: now }],
    [collection, { text: 'x'.repeat(3001), createdAt: now }],
    [collection, { text: 'when?', createdAt: 'yesterday' }],
    [collection, { $type: 'app.bsky.feed.like', text: 'hi', createdAt: now }],
    [collection, { text: 'fine', createdAt: now }],
    [collection, {}, { validate: false }],
    [collection, { text: 'key', createdAt: now }, { rkey: 'no-tid' }],
    ['app.bsky.feed.like', { subject: strong, createdAt: now }],
    ['app.bsky.feed.like', { subject: strong.uri, createdAt: now }],
    ['app.bsky.graph.follow', { subject: 'alice.test', createdAt: now }],
    ['app.bsky.graph.follow', { subject: did, createdAt: now }],
    ['app.bsky.actor.profile', { displayName: 'Alice' }, { rkey: 'self' }],
    ['app.bsky.actor.profile', { displayName: 7 }, { rkey: 'self' }],
    ['org.example.note', { anything: 'goes' }],
    ['org.example.note', { anything: 'goes' }, { validate: true }],
  ]) {
    const status = async (at, as, repo) => {
      const json = { repo, collection: of, record, ...more }
      return (await at.call('com.atproto.repo.createRecord', { as, json })).status
    }
    const expected = await status(real, there.accessJwt, there.did)
    assert.equal(await status(site, accessJwt, did), expected, `${of} ${JSON.stringify([record, more])}`)
  }
}
