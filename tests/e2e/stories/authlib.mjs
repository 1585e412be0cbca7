// A confidential app (client_secret_basic) that uses the PyPI package Authlib and asks for one
// collection only.

import assert from 'node:assert/strict'
import { AuthlibApp } from '../apps/authlib_app.mjs'
import { isSignedOut, knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'

export const name = 'Authlib: the same with a client secret and a granular scope'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('pavel')
  const app = await story.newAppOf(AuthlibApp, 'authlib')
  const page = await story.newBrowser()

  const pages = await story.signIn(page, app, person)

  assert.deepEqual(pages, ['aip:login', 'pds:sign-in', 'pds:consent', 'aip:consent', 'app:signed-in'])
  await knowsThePerson(app, person)
  await usesTheRepository(app, person, story.lab)
  const elsewhere = { repo: person.did, collection: 'app.bsky.graph.block', record: {} }
  assert.equal((await app.xrpc('POST', 'com.atproto.repo.createRecord', { json: elsewhere })).status, 403)
  await refreshesItsTokens(app)

  await app.revoke()
  await isSignedOut(app, person, story.lab)
}
