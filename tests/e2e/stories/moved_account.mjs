// A person moves their account to another PDS. AIP may not go on with the session at the old one: it ends
// it with the reason, tells the app, and signs the person in at the new PDS, as the same account.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { knowsThePerson, usesTheRepository } from '../lib/life.mjs'
import { moveAccount } from '../lib/migration.mjs'
import { until } from '../lib/poll.mjs'

export const name = 'moved account: the session ends with the reason, the next sign-in is at the new PDS'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  await story.startAip()
  const second = await story.lab.second()
  const person = await story.newPerson('mona')
  const scope = 'openid atproto repo:app.bsky.feed.post'
  const app = await story.newApp(OpenidClientApp, { name: 'Notes', scope, authMethod: 'client_secret_basic' })
  const page = await story.newBrowser()
  await story.lab.withToldLifetime(15_000, () => story.signIn(page, app, person))
  const before = (await app.held()).claims
  const use = () => app.xrpc('GET', 'com.atproto.server.getSession')
  assert.equal((await use()).status, 200)

  await moveAccount(person, { from: story.lab, to: second })
  const ended = await until('AIP to notice at the next refresh', async () => {
    const answer = await use()
    return answer.status === 401 && answer
  })
  const [challenge] = ended.challenge
  assert.equal(challenge.parameters.error, 'invalid_token')
  assert.match(challenge.parameters.error_description, /sign in again.*moved/)

  const refused = await app.refresh()
  assert.equal(refused?.error, 'invalid_grant')
  assert.match(refused.description, /moved/)

  const pages = await story.signIn(page, app, person, { at: second })
  assert.ok(pages.includes('pds:sign-in'), pages.join())
  assert.equal(pages.at(-1), 'app:signed-in')
  await knowsThePerson(app, person)
  assert.equal((await app.held()).claims.sub, before.sub)
  await usesTheRepository(app, person, second)
  assert.equal((await second.oauthSessions(person.did)).length, 1)
}
