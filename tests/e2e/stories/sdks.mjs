// SDKs of the AT Protocol, unmodified, with AIP as their service and an access token of AIP: each posts with
// an image, pages through a list, updates the profile and deletes.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { sdkPython, sdksDir } from '../lib/cache.mjs'

export const name = 'SDKs: @atproto/api, @atcute/client and atproto (Python) work with AIP as their service'
export const lab = 'http'
export const onBothReleases = true

const collection = 'app.bsky.feed.post'
const scope = `openid atproto blob:image/png repo:${collection} repo:app.bsky.actor.profile`
const sdks = [
  ['@atproto/api', process.execPath, 'atproto_api.mjs'],
  ['@atcute/client', process.execPath, 'atcute.mjs'],
  ['atproto', sdkPython, 'atproto_python.py'],
]

export async function tell(story) {
  await story.startAip()
  const app = await story.newApp(OpenidClientApp, { name: 'Poster', scope, authMethod: 'client_secret_basic' })
  for (const [index, [sdk, program, script]] of sdks.entries()) {
    const person = await story.newPerson(`sdk${index}`)
    const page = await story.newBrowser()
    await story.signIn(page, app, person)
    const { tokens } = await app.held()
    const env = { PATH: process.env.PATH, AIP_URL: story.aip.url, ACCESS_TOKEN: tokens.access, DID: person.did }
    const { stdout } = await promisify(execFile)(program, [path.join(sdksDir, script)], { env, timeout: 60_000 })
    const { pages, deleted, displayName } = JSON.parse(stdout)

    assert.deepEqual(pages.filter((page) => page.length), [['four', 'three'], ['two', 'one'], ['with an image']], sdk)
    assert.equal(displayName, 'Second', sdk)
    const at = async (method, query) => {
      const answer = await fetch(`${story.lab.pds}/xrpc/com.atproto.repo.${method}?${new URLSearchParams(query)}`)
      return { status: answer.status, body: await answer.json() }
    }
    const left = await at('listRecords', { repo: person.did, collection })
    assert.deepEqual(left.body.records.map((it) => it.value.text), ['four', 'three', 'two', 'one'], sdk)
    const gone = await at('getRecord', { repo: person.did, collection, rkey: deleted.split('/').at(-1) })
    assert.equal(gone.status, 400, sdk)
    const profile = await at('getRecord', { repo: person.did, collection: 'app.bsky.actor.profile', rkey: 'self' })
    assert.equal(profile.body.value.displayName, 'Second', sdk)
  }
}
