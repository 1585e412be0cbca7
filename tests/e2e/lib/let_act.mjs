// An owner lets somebody act for their account, as people do it: on the account page of AIP, and with a sign-in
// at their host.

import assert from 'node:assert/strict'
import { walkOn } from './walk.mjs'

/** The `owner` fills in the form of the account page for `delegate`, and signs in at their host to confirm it. */
export async function letAct(story, page, owner, delegate) {
  await page.goto(`${story.aip.url}/account`)
  await walkOn(page, { person: owner })
  await page.getByText('Let somebody else act for this account').click()
  await page.locator('input[name=delegate]').fill(delegate.handle)
  await page.locator('button.give-delegation').click()
  await page.locator('form#sign-out').waitFor({ state: 'hidden' })
  const seen = await walkOn(page, { person: owner })
  assert.ok(seen.includes('pds:sign-in'), `they prove anew who they are: ${seen}`)
  await page.locator(`li.delegation[data-delegate="${delegate.did}"]`).waitFor()
}
