// Requirements of the specifications (docs/conformance.md) that no other test meets on its way: details of HTTP,
// asked of the whole program.

import assert from 'node:assert/strict'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'

export const name = 'specifications: metadata, userinfo by POST, hints and credentials in the wrong place'
export const lab = 'http'

export async function tell(story) {
  await story.startAip({ AIP_CLIENT_REGISTRATION: 'open' })
  const person = await story.newPerson('rufus')
  const registration = { name: 'Details', scope: 'openid profile atproto', authMethod: 'client_secret_basic' }
  const app = await story.newApp(OpenidClientApp, registration)
  await story.signIn(await story.newBrowser(), app, person)
  const at = (path) => `${story.aip.url}${path}`

  await metadataSaysWhatItMust(at, story.aip.url)
  await registrationAnswersAsItMust(at)
  await userinfoTakesAForm(at, app, person)
  await credentialsInTheUrlAreNone(at, app)
  await aWrongHintHindersNoRevocation(at, app)
}

/** OpenID Connect Discovery §3, §4.2; RFC 8414 §2, §3.2; RFC 9207 §2.3; RFC 9728 §3.2, §4. */
async function metadataSaysWhatItMust(at, issuer) {
  const paths = ['openid-configuration', 'oauth-authorization-server', 'oauth-protected-resource']
  const [openid, oauth, resource] = await Promise.all(paths.map(async (path) => {
    const response = await fetch(at(`/.well-known/${path}`))
    assert.equal(response.status, 200)
    assert.equal(response.headers.get('content-type'), 'application/json')
    return response.json()
  }))
  assert.deepEqual(openid, oauth)
  assert.equal(openid.issuer, issuer)
  for (const required of ['authorization_endpoint', 'token_endpoint', 'userinfo_endpoint', 'jwks_uri', 'end_session_endpoint']) {
    assert.ok(openid[required].startsWith(`${issuer}/`), required)
  }
  for (const document of [openid, resource]) {
    for (const [member, value] of Object.entries(document)) {
      assert.ok(value !== null && value !== '' && value.length !== 0, `${member} is empty and is left out then`)
      if (member.endsWith('_alg_values_supported')) assert.ok(!value.includes('none'), member)
    }
  }
  assert.deepEqual(openid.response_types_supported, ['code'])
  assert.ok(openid.subject_types_supported.includes('public'))
  assert.ok(openid.id_token_signing_alg_values_supported.includes('RS256'))
  assert.equal(openid.authorization_response_iss_parameter_supported, true)
  assert.equal(openid.request_parameter_supported, false, 'true is the default of OpenID Connect Discovery for the next')
  assert.equal(openid.request_uri_parameter_supported, false)
  assert.equal(resource.resource, issuer)
  assert.deepEqual(openid.protected_resources, [issuer])
}

/** RFC 7591 §3.2.1, OpenID Connect Registration §3.2. */
async function registrationAnswersAsItMust(at) {
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ redirect_uris: ['https://app.example/callback'] })
  const response = await fetch(at('/oauth/clients/register'), { method: 'POST', headers, body })
  assert.equal(response.status, 201)
  assert.equal(response.headers.get('cache-control'), 'no-store')
  const told = await response.json()
  assert.ok(told.client_id && told.client_secret)
  assert.equal(told.client_secret_expires_at, 0)
}

/** OpenID Connect Core §5.3.1, RFC 6750 §2.2. */
async function userinfoTakesAForm(at, app, person) {
  const { tokens } = await app.held()
  const body = new URLSearchParams({ access_token: tokens.access })
  const response = await fetch(at('/oauth/userinfo'), { method: 'POST', body })
  assert.equal(response.status, 200)
  assert.equal((await response.json()).sub, person.did)
  const withHeader = { method: 'POST', headers: { authorization: `Bearer ${tokens.access}` } }
  assert.equal((await fetch(at('/oauth/userinfo'), withHeader)).status, 200)
}

/** RFC 6749 §2.3.1. */
async function credentialsInTheUrlAreNone(at, app) {
  const { tokens } = await app.held()
  const query = new URLSearchParams({ client_id: app.clientId, client_secret: app.clientSecret })
  const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: tokens.refresh })
  const response = await fetch(at(`/oauth/token?${query}`), { method: 'POST', body })
  assert.equal(response.status, 401)
  assert.equal((await response.json()).error, 'invalid_client')
  assert.equal(await app.refresh(), undefined, 'nothing was spent')
}

/** RFC 7009 §2.1. */
async function aWrongHintHindersNoRevocation(at, app) {
  const { tokens } = await app.held()
  const authorization = `Basic ${Buffer.from(`${app.clientId}:${app.clientSecret}`).toString('base64')}`
  const body = new URLSearchParams({ token: tokens.access, token_type_hint: 'refresh_token' })
  const response = await fetch(at('/oauth/revoke'), { method: 'POST', headers: { authorization }, body })
  assert.equal(response.status, 200)
  assert.equal((await app.userinfo()).status, 401)
}
