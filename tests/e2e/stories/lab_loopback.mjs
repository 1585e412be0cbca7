// The lab alone, without AIP: when this fails, the lab or the machine is at fault.

import assert from 'node:assert/strict'

export const name = 'lab: the reference client signs in at the PDS over plain http'
export const lab = 'http'
export const onBothReleases = true

export async function tell(story) {
  const person = await story.newPerson('lena')
  const client = await story.newReferenceClient()
  const page = await story.newBrowser()

  const pages = await story.signIn(page, { loginUrl: await client.loginUrl(person) }, person)

  assert.deepEqual(pages, ['pds:sign-in', 'pds:consent', 'app:signed-in'])
  assert.equal(client.session.did, person.did)
  assert.equal((await story.lab.oauthSessions(person.did)).length, 1)
  await client.session.signOut()
  assert.deepEqual(await story.lab.oauthSessions(person.did), [])
}
