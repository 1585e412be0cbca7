// The strongest that an app without a secret can do, with the npm package oauth4webapi.

import assert from 'node:assert/strict'
import { Oauth4webapiApp } from '../clients/oauth4webapi_app.mjs'
import { isSignedOut, knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'

export const name = 'oauth4webapi: a public app with PAR, PKCE and DPoP at every step'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('wendy')
  const app = await story.newAppOf(Oauth4webapiApp, 'oauth4webapi')
  const page = await story.newBrowser()

  const refused = await story.signIn(page, app, person, { consent: 'deny' })
  assert.deepEqual(refused.slice(-2), ['aip:consent', 'app:refused'])
  assert.equal(await page.locator('main#refused').innerText(), 'access_denied')

  const pages = await story.signIn(page, app, person)
  assert.deepEqual(pages.slice(-2), ['aip:consent', 'app:signed-in'])
  await knowsThePerson(app, person)
  await usesTheRepository(app, person, story.lab)
  await refreshesItsTokens(app)
  const withoutProof = { headers: { authorization: `Bearer ${app.tokens.access}` } }
  assert.equal((await fetch(`${story.aip.url}/oauth/userinfo`, withoutProof)).status, 401, 'the token is bound to the key')

  await app.revoke()
  await isSignedOut(app, person, story.lab)
}
