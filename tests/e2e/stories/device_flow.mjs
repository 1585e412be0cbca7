// A television gets its tokens by the device flow (RFC 8628) of the stock package `openid-client`: it shows a
// code, the person enters it on another device, signs in at their own host and says yes, or no.

import assert from 'node:assert/strict'
import * as oidc from 'openid-client'
import { walkOn } from '../lib/walk.mjs'

export const name = 'device flow: a television shows a code, its person enters it elsewhere, and says yes or no'
export const lab = 'http'

const create = 'com.atproto.repo.createRecord'
const collection = 'app.bsky.feed.post'
const scope = `openid atproto repo:${collection}`

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('viewer')
  const grants = ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'].flatMap((it) => ['--grant-type', it])
  const created = await story.aip.command('clients', 'create', '--name', 'Television', '--auth-method', 'none',
    '--application-type', 'native', ...grants, '--scope', scope, '--output', 'json')
  const { client_id } = JSON.parse(created)
  const execute = [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks]
  const television = await oidc.discovery(new URL(story.aip.url), client_id, undefined, oidc.None(), { execute })

  const codes = await oidc.initiateDeviceAuthorization(television, { scope })
  // People write it as they like.
  const seen = await enter(story, codes.verification_uri, codes.user_code.replace('-', '').toLowerCase(), { person })
  assert.ok(seen.includes('pds:sign-in') && seen.includes('aip:consent'), `${seen}`)
  const tokens = await oidc.pollDeviceAuthorizationGrant(television, codes)
  assert.equal(tokens.claims().sub, person.did)
  const { sub } = await oidc.fetchUserInfo(television, tokens.access_token, person.did)
  assert.equal(sub, person.did)
  const record = { $type: collection, text: 'from the sofa', createdAt: new Date().toISOString() }
  const posted = await oidc.fetchProtectedResource(television, tokens.access_token, new URL(`${story.aip.url}/xrpc/${create}`),
    'POST', JSON.stringify({ repo: person.did, collection, record }), new Headers({ 'content-type': 'application/json' }))
  assert.equal(posted.status, 200)
  const { uri } = await posted.json()
  assert.deepEqual((await story.lab.publicRecord(uri)).value, record)
  const refreshed = await oidc.refreshTokenGrant(television, tokens.refresh_token)
  assert.notEqual(refreshed.access_token, tokens.access_token)

  const others = await oidc.initiateDeviceAuthorization(television, { scope })
  await enter(story, others.verification_uri_complete, undefined, { person, consent: 'deny' })
  await assert.rejects(oidc.pollDeviceAuthorizationGrant(television, others), { error: 'access_denied' })
}

/** A person with a browser of their own enters the code, or finds it in the form; the pages they saw. */
async function enter(story, link, code, choices) {
  const page = await story.newBrowser()
  await page.goto(link)
  if (code) await page.locator('input#user_code').fill(code)
  await page.locator('form#device button#continue').click()
  return walkOn(page, choices)
}
