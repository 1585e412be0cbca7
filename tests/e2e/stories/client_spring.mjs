// A Spring Boot app with Spring Security.

import assert from 'node:assert/strict'
import { SpringApp } from '../clients/spring_app.mjs'
import { knowsThePerson } from '../lib/life.mjs'

export const name = 'Spring Security: a Spring Boot app with PKCE'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('sophie')
  const app = await story.newAppOf(SpringApp, 'spring-security')
  const page = await story.newBrowser()

  const refused = await story.signIn(page, app, person, { consent: 'deny' })
  assert.deepEqual(refused.slice(-2), ['aip:consent', 'app:refused'])

  const pages = await story.signIn(page, app, person)
  assert.deepEqual(pages.slice(-2), ['aip:consent', 'app:signed-in'])
  assert.equal(await page.locator('main#signed-in').innerText(), person.did)
  await knowsThePerson(app, person)
}
