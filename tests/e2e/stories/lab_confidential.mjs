// The TLS lab alone, without AIP: a PDS that remembers a person lets a confidential client sign them in
// again without a page. The story of the second app stands on this.

import assert from 'node:assert/strict'

export const name = 'lab: the reference client signs in over TLS with private_key_jwt, the second time silently'
export const lab = 'tls'
export const onBothReleases = true

export async function tell(story) {
  const person = await story.newPerson('liam')
  const client = await story.newReferenceClient()
  const page = await story.newBrowser()

  const first = await story.signIn(page, { loginUrl: await client.loginUrl(person) }, person, { remember: true })
  const second = await story.signIn(page, { loginUrl: await client.loginUrl(person) }, person)

  assert.deepEqual(first, ['pds:sign-in', 'pds:consent', 'app:signed-in'])
  assert.deepEqual(second, ['app:signed-in'])
  const [session, ...more] = await story.lab.oauthSessions(person.did)
  assert.deepEqual(more, [], 'the library revoked the session that it replaced')
  assert.equal(session.client_auth, 'private_key_jwt')
}
