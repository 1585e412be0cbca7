// A confidential app in Go, with golang.org/x/oauth2 and coreos/go-oidc.

import assert from 'node:assert/strict'
import { GoOidcApp } from '../clients/go_oidc_app.mjs'
import { isSignedOut, knowsThePerson, refreshesItsTokens, usesTheRepository } from '../lib/life.mjs'

export const name = 'go-oidc and x/oauth2: a confidential app in Go signs in, writes, refreshes and revokes'
export const lab = 'http'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('gopal')
  const app = await story.newAppOf(GoOidcApp, 'go-oidc')
  const page = await story.newBrowser()

  const pages = await story.signIn(page, app, person)

  assert.deepEqual(pages, ['aip:login', 'pds:sign-in', 'pds:consent', 'aip:consent', 'app:signed-in'])
  await knowsThePerson(app, person)
  await usesTheRepository(app, person, story.lab)
  await refreshesItsTokens(app)

  await app.revoke()
  await isSignedOut(app, person, story.lab)
}
