// A person makes a token for a script on the account page, by a sign-in at their own host. The script posts with
// it, and is refused when it wants more, and when the token is revoked. An operator orders one by a link.

import assert from 'node:assert/strict'
import { walkOn } from '../lib/walk.mjs'

export const name = 'developer tokens: made for a script, shown once, used, revoked; and ordered by an operator'
export const lab = 'http'

const create = 'com.atproto.repo.createRecord'
const post = 'app.bsky.feed.post'

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('scribe')
  const page = await story.newBrowser()
  await page.goto(`${story.aip.url}/account`)
  await walkOn(page, { person })

  await page.getByText('Make a token for a script').click()
  await page.locator('details.make-token input[name=name]').fill('CI of the blog')
  await page.locator('details.make-token input[name=days]').fill('90')
  await page.locator('button.give-token').click()
  await page.locator('form#sign-out').waitFor({ state: 'hidden' })
  const seen = await walkOn(page, { person })
  assert.ok(seen.includes('pds:sign-in'), `they prove anew who they are: ${seen}`)
  const token = await page.getByLabel('Token', { exact: true }).inputValue()
  assert.match(token, /^aip_pt_/)

  const call = (text, collection = post) =>
    fetch(`${story.aip.url}/xrpc/${create}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        repo: person.did,
        collection,
        record: { $type: collection, text, createdAt: new Date().toISOString() },
      }),
    })
  const first = await call('by a script')
  assert.equal(first.status, 200, await first.text())
  const query = new URLSearchParams({ repo: person.did, collection: post })
  const listed = await fetch(`${story.lab.pds}/xrpc/com.atproto.repo.listRecords?${query}`)
  assert.deepEqual((await listed.json()).records.map((it) => it.value.text), ['by a script'])
  const more = await call('a like', 'app.bsky.feed.like')
  assert.equal(more.status, 403, await more.text())
  const whose = await fetch(`${story.aip.url}/oauth/userinfo`, { headers: { authorization: `Bearer ${token}` } })
  assert.equal((await whose.json()).sub, person.did)

  await page.goto(`${story.aip.url}/account`)
  assert.ok(!(await page.content()).includes(token), 'it is shown once')
  await page.locator('li.token .last-used', { hasText: 'last used' }).waitFor()
  await page.locator('li.token button.revoke').click()
  await page.locator('li.token').waitFor({ state: 'detached' })
  const late = await call('too late')
  assert.equal(late.status, 401, await late.text())
  await ordered(story, person)
}

/** An operator orders a token; its person opens the link in a browser in which nobody has signed in. */
async function ordered(story, person) {
  const order = await story.aip.orderToken('--account', person.handle, '--name', 'Newsletter', '--preset', 'posts')
  try {
    const page = await story.newBrowser()
    await page.goto(order.link)
    const seen = await walkOn(page, { person })
    assert.deepEqual([seen.at(0), seen.at(-1)], ['aip:token-order', 'aip:token-made'])
    assert.ok(!(await page.content()).includes('aip_pt_'), 'the token never crosses the browser')
    const { token, account, name } = await order.made
    assert.deepEqual([account, name], [person.did, 'Newsletter'])
    const whose = await fetch(`${story.aip.url}/oauth/userinfo`, { headers: { authorization: `Bearer ${token}` } })
    assert.equal((await whose.json()).sub, person.did)
    await page.goto(order.link)
    await page.locator('main#error').waitFor()
    await page.goto(`${story.aip.url}/account`)
    await page.locator('li.token', { hasText: 'Newsletter' }).waitFor()
  } finally {
    order.giveUp()
  }
}
