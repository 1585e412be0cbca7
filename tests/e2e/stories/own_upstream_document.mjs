// Apps with a client document of their own: the real PDS reads it, asks for each app by its own address, and
// keeps one session for each. What the person ends for one of them there is the other's still.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { isSignedOut, knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'
import { walk, walkOn } from '../lib/walk.mjs'

export const name = 'own upstream document: the PDS asks for each app by itself, and its session ends alone'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('nora')
  const scope = 'openid profile atproto repo:app.bsky.feed.post'
  const authMethod = 'client_secret_basic'
  const newApp = (name, id) =>
    story.newApp(OpenidClientApp, {
      name,
      scope,
      authMethod,
      more: () => ['--application-type', 'native', '--id', id, '--own-upstream-document', 'true'],
    })
  const photos = await newApp('Photo Book', 'photo-book')
  const letters = await newApp('Letters', 'letters')
  const documentOf = (app) => `${story.aip.url}/oauth/upstream/clients/${app.clientId}.json`

  // A consent at the PDS for one app is none for the other, though the PDS remembers both.
  for (const app of [photos, letters]) {
    const page = await story.newBrowser()
    const choices = { person, remember: true }
    const before = await walk(page, app.loginUrl, { ...choices, stopAt: 'pds:consent' })
    assert.equal(before.at(-1), 'pds:consent')
    // A PDS shows the name of clients that it trusts, and the address of all others.
    const words = await page.locator('body').innerText()
    assert.ok(words.includes(app.clientId) || words.includes(new URL(documentOf(app)).host), words)
    const after = await walkOn(page, choices)
    assert.equal(after.at(-1), 'app:signed-in')
    await knowsThePerson(app, person)
    await usesTheRepository(app, person, story.lab)
  }

  const clients = async () => (await story.lab.oauthSessions(person.did)).map((session) => session.client_id).sort()
  assert.deepEqual(await clients(), [photos, letters].map(documentOf).sort())

  // The switch counts for sign-ins from now on: this session stays what it is, and goes on.
  await story.aip.command('clients', 'update', letters.clientId, '--own-upstream-document', 'false')
  await refreshesItsTokens(letters)
  await usesTheRepository(letters, person, story.lab)

  await photos.revoke()
  await isSignedOut(photos, person, story.lab, { others: 1 })
  assert.deepEqual(await clients(), [documentOf(letters)])
  await usesTheRepository(letters, person, story.lab)
}
