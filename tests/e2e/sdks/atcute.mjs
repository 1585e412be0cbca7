// What an app does with the npm package `@atcute/client`. AIP_URL is its service, ACCESS_TOKEN its
// credential, DID the account; it writes what it got as one line of JSON.

import { Client, ok } from '@atcute/client'
import { collection, picture } from './material.mjs'

const { AIP_URL, ACCESS_TOKEN, DID: repo } = process.env

const client = new Client({
  handler: (path, init) => {
    const headers = new Headers(init.headers)
    headers.set('authorization', `Bearer ${ACCESS_TOKEN}`)
    return fetch(new URL(path, AIP_URL), { ...init, headers })
  },
})

const profileCollection = 'app.bsky.actor.profile'
const create = (record) => ok(client.post('com.atproto.repo.createRecord', { input: { repo, collection, record } }))
const post = (text, more) => ({ $type: collection, text, createdAt: new Date().toISOString(), ...more })

const input = new Blob([picture], { type: 'image/png' })
const { blob } = await ok(client.post('com.atproto.repo.uploadBlob', { input }))
const embed = { $type: 'app.bsky.embed.images', images: [{ image: blob, alt: 'A dot' }] }
const withImage = await create(post('with an image', { embed }))
for (const text of ['one', 'two', 'three', 'four']) await create(post(text))

const pages = []
let cursor
do {
  const page = await ok(client.get('com.atproto.repo.listRecords', { params: { repo, collection, limit: 2, cursor } }))
  pages.push(page.records.map((it) => it.value.text))
  cursor = page.cursor
} while (cursor)

for (const displayName of ['First', 'Second']) {
  const record = { $type: profileCollection, displayName }
  await ok(client.post('com.atproto.repo.putRecord', { input: { repo, collection: profileCollection, rkey: 'self', record } }))
}
const params = { repo, collection: profileCollection, rkey: 'self' }
const profile = await ok(client.get('com.atproto.repo.getRecord', { params }))

const rkey = withImage.uri.split('/').at(-1)
await ok(client.post('com.atproto.repo.deleteRecord', { input: { repo, collection, rkey } }))
console.log(JSON.stringify({ pages, deleted: withImage.uri, displayName: profile.value.displayName }))
