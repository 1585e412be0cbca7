// A PDS that remembers the person and their consent to AIP signs them in again without a page. That
// consent was for AIP, not for the next app: AIP's own consent page must stand in between.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { knowsThePerson } from '../lib/life.mjs'

export const name = 'second app: the PDS signs in silently, AIP still asks for consent'
export const lab = 'tls'

const atPds = (pages) => pages.filter((page) => page.startsWith('pds:'))

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('dora')
  const scope = 'openid atproto repo:app.bsky.feed.post'
  // Apps with a secret: a program on the person's device that has none could be anybody, so AIP
  // asks for it every time (RFC 8252 §8.6).
  const authMethod = 'client_secret_basic'
  const first = await story.newApp(OpenidClientApp, { name: 'First', scope, authMethod })
  const second = await story.newApp(OpenidClientApp, { name: 'Second', scope, authMethod })
  const page = await story.newBrowser()

  const firstTime = await story.signIn(page, first, person, { remember: true })
  assert.deepEqual(atPds(firstTime), ['pds:sign-in', 'pds:consent'])

  const secondApp = await story.signIn(page, second, person)
  assert.deepEqual(atPds(secondApp), [], 'the PDS shows no page')
  assert.equal(secondApp.filter((page) => page === 'aip:consent').length, 1, 'AIP asks for this app')
  assert.equal(secondApp.at(-1), 'app:signed-in')
  await knowsThePerson(second, person)

  const firstAgain = await story.signIn(page, first, person)
  assert.ok(!firstAgain.includes('aip:consent'), 'the same app in the same browser is not asked for again')
  await knowsThePerson(first, person)

  const otherBrowser = await story.newBrowser()
  const elsewhere = await story.signIn(otherBrowser, first, person)
  assert.ok(elsewhere.includes('aip:consent'), 'a consent belongs to the browser in which it was given')

  await second.revoke()
  assert.equal((await second.userinfo()).status, 401)
  await knowsThePerson(first, person)
}
