// The person's own page: what they allowed, taking it back, signing out of this browser.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { isSignedOut, knowsThePerson, usesTheRepository } from '../lib/life.mjs'
import { look } from '../lib/look.mjs'

export const name = 'account page: lists the apps, takes one back down to the PDS, signs out'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('alice')
  const scope = 'openid profile atproto repo:app.bsky.feed.post'
  const photos = await story.newApp(OpenidClientApp, { name: 'Photo Book', scope })
  const reading = await story.newApp(OpenidClientApp, { name: 'Reading List', scope })
  const page = await story.newBrowser()
  await story.signIn(page, photos, person, { keep: true })
  await story.signIn(page, reading, person)
  await knowsThePerson(photos, person)
  await knowsThePerson(reading, person)

  await page.goto(`${story.aip.url}/account`)
  const grantOf = (app) => page.locator(`li.grant[data-client-id="${app.clientId}"]`)
  await grantOf(photos).waitFor()
  await grantOf(reading).waitFor()
  assert.equal(await page.locator('li.grant').count(), 2)
  assert.match(await grantOf(photos).innerText(), /Photo Book/)
  await look(page, 'account', { keep: true })

  await grantOf(photos).locator('button.revoke').click()
  await grantOf(photos).waitFor({ state: 'detached' })
  await grantOf(reading).waitFor()
  await isSignedOut(photos, person, story.lab, { others: 1 })
  await usesTheRepository(reading, person, story.lab)

  await page.locator('form#sign-out button').click()
  await page.locator('form#sign-out').waitFor({ state: 'detached' })
  await page.goto(`${story.aip.url}/account`)
  await page.locator('form#login').waitFor()
  assert.equal(await page.locator('li.grant').count(), 0)
}
