// What an app does with the npm package `@atproto/api`. AIP_URL is its service, ACCESS_TOKEN its credential,
// DID the account; it writes what it got as one line of JSON.

import { Agent } from '@atproto/api'
import { collection, picture } from './material.mjs'

const { AIP_URL, ACCESS_TOKEN, DID } = process.env

/** A session of the library: whose it is, and how a request is sent. */
const session = {
  did: DID,
  fetchHandler: (path, init) => {
    const headers = new Headers(init?.headers)
    headers.set('authorization', `Bearer ${ACCESS_TOKEN}`)
    return fetch(new URL(path, AIP_URL), { ...init, headers })
  },
}
const agent = new Agent(session)

const uploaded = await agent.uploadBlob(picture, { encoding: 'image/png' })
const images = [{ image: uploaded.data.blob, alt: 'A dot' }]
const embed = { $type: 'app.bsky.embed.images', images }
const withImage = await agent.post({ text: 'with an image', embed })
for (const text of ['one', 'two', 'three', 'four']) await agent.post({ text })

const pages = []
let cursor
do {
  const { data } = await agent.com.atproto.repo.listRecords({ repo: DID, collection, limit: 2, cursor })
  pages.push(data.records.map((it) => it.value.text))
  cursor = data.cursor
} while (cursor)

for (const displayName of ['First', 'Second']) {
  await agent.upsertProfile((existing) => ({ ...existing, displayName }))
}
const profile = await agent.com.atproto.repo.getRecord({ repo: DID, collection: 'app.bsky.actor.profile', rkey: 'self' })

await agent.deletePost(withImage.uri)
console.log(JSON.stringify({ pages, deleted: withImage.uri, displayName: profile.data.value.displayName }))
