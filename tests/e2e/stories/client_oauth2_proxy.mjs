// A site behind oauth2-proxy learns who is there without a line of its own.

import assert from 'node:assert/strict'
import { Oauth2ProxyApp } from '../clients/oauth2_proxy_app.mjs'

export const name = 'oauth2-proxy: the site behind it is told DID and handle'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('petra')
  const app = await story.newAppOf(Oauth2ProxyApp, 'oauth2-proxy')
  const page = await story.newBrowser()

  const pages = await story.signIn(page, app, person)

  assert.deepEqual(pages, ['aip:login', 'pds:sign-in', 'pds:consent', 'aip:consent', 'app:signed-in'])
  assert.equal(await page.locator('main#signed-in').innerText(), person.did)
  assert.equal(app.seen['x-forwarded-user'], person.did)
  assert.equal(app.seen['x-forwarded-email'], person.did)
  assert.equal(app.seen['x-forwarded-preferred-username'], person.handle)
}
