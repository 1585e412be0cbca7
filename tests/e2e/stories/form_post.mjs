// The answer to an app as a form that the browser posts: by a script, and by hand where scripts are off.
// Chromium holds the form to the policy of its page.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'

export const name = 'form post: the browser posts code and errors to the app, with and without scripts'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('fay')
  const registration = { name: 'Forms', scope: 'openid atproto', authMethod: 'client_secret_basic' }
  const app = await story.newApp(OpenidClientApp, registration)
  app.responseMode = 'form_post'
  const page = await story.newBrowser()

  const refused = await story.signIn(page, app, person, { consent: 'deny' })
  assert.deepEqual(refused.slice(-2), ['aip:consent', 'app:refused'])
  assert.equal(page.url(), app.redirectUri, 'nothing is in the URL')
  assert.equal(await page.locator('main#refused').innerText(), 'access_denied')

  const pages = await story.signIn(page, app, person)
  assert.deepEqual(pages.slice(-2), ['aip:consent', 'app:signed-in'])
  assert.equal(page.url(), app.redirectUri, 'nothing is in the URL')
  assert.equal(await page.locator('main#signed-in').innerText(), person.did)

  const devtools = await page.context().newCDPSession(page)
  await devtools.send('Emulation.setScriptExecutionDisabled', { value: true })
  await page.goto(app.loginUrl)
  assert.equal(new URL(page.url()).origin, story.aip.url)
  await page.locator('form#answer button#continue').click()
  await page.locator('main#signed-in').waitFor()
  assert.equal(page.url(), app.redirectUri)
}
