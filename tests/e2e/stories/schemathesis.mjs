// schemathesis (PyPI) sends what the OpenAPI document allows, and what it does not, to every endpoint: the same
// requests in each run. Nothing is a server error, and every answer is as the document says.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { OpenidClientApp } from '../apps/openid_client_app.mjs'
import { e2eDir, python } from '../lib/cache.mjs'

export const name = 'schemathesis: no endpoint answers anything with a server error'
export const lab = 'http'

const document = path.join(e2eDir, '..', '..', 'docs', 'openapi.yaml')
const SECONDS_AT_MOST = 300
const REQUESTS_AT_LEAST = 1000
const CHECKS = ['not_a_server_error', 'status_code_conformance', 'content_type_conformance', 'response_schema_conformance']

export async function tell(story) {
  // Limits would answer most of it, and registration is off by default.
  await story.startAip({ AIP_RATE_LIMITS: 'false', AIP_CLIENT_REGISTRATION: 'open' })
  const person = await story.newPerson('schema')
  const registration = { name: 'Anything', scope: 'openid profile atproto transition:generic', authMethod: 'client_secret_basic' }
  const app = await story.newApp(OpenidClientApp, registration)
  const page = await story.newBrowser()
  await story.signIn(page, app, person)
  const { tokens } = await app.held()

  const registered = await registerItself(story.aip.url)

  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'schemathesis-'))
  const config = path.join(folder, 'schemathesis.toml')
  fs.writeFileSync(config, `
[parameters]
client_id = ${JSON.stringify(app.clientId)}
redirect_uri = ${JSON.stringify(app.redirectUri)}
id = ${JSON.stringify(registered.client_id)}

[auth.openapi.clientSecret]
username = ${JSON.stringify(app.clientId)}
password = ${JSON.stringify(app.clientSecret)}

[auth.openapi.accessToken]
bearer = ${JSON.stringify(tokens.access)}

[auth.openapi.registrationAccessToken]
bearer = ${JSON.stringify(registered.registration_access_token)}
`)
  const said = await run(['--config-file', config, 'run', document, '--url', story.aip.url, '--checks', CHECKS.join(),
    '--phases', 'examples,coverage,fuzzing', '--max-examples', '20', '--generation-deterministic',
    '--max-redirects', '0', '--workers', '2', '--request-timeout', '20', '--no-color'], folder)
  assert.equal(said.failure, undefined, said.text.slice(-20_000))
  const [, generated, passed] = said.text.match(/(\d+) generated, (\d+) passed/) ?? []
  assert.ok(Number(generated) >= REQUESTS_AT_LEAST, said.text)
  assert.equal(passed, generated)
  assert.equal((await app.userinfo()).status, 200, 'nothing of it touched who is signed in')
}

/** The app whose registration is looked after. */
async function registerItself(issuer) {
  const body = JSON.stringify({ redirect_uris: ['https://app.example/callback'] })
  const response = await fetch(`${issuer}/oauth/clients/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  assert.equal(response.status, 201)
  return response.json()
}

/** What it printed, and how it failed if it did. */
async function run(args, cwd) {
  const program = path.join(path.dirname(python), 'schemathesis')
  try {
    const { stdout } = await promisify(execFile)(program, args, { cwd, timeout: SECONDS_AT_MOST * 1000, maxBuffer: 1 << 26 })
    return { text: stdout }
  } catch (failure) {
    return { text: failure.stdout ?? '', failure: failure.message }
  }
}
