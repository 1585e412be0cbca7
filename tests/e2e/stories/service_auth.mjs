// An administrator has their PDS make a service token (com.atproto.server.getServiceAuth), which AIP accepts
// once, for the method and the service that it names, and from nobody else.
//
// Only on localhost may a did:web have a port, so here AIP is http://localhost:PORT.

import assert from 'node:assert/strict'
import { freePort } from '../lib/process.mjs'

export const name = 'service auth: an administrator changes a client with a token of their PDS'
export const lab = 'http'
export const onBothReleases = true

const method = 'tools.graze.aip.clients.Update'

export async function tell(story) {
  const admin = await story.newPerson('warden')
  const other = await story.newPerson('passer-by')
  const port = await freePort()
  const url = `http://localhost:${port}`
  await story.startAip({ AIP_LISTEN: `127.0.0.1:${port}`, AIP_EXTERNAL_BASE: url, AIP_ADMIN_DIDS: admin.did })
  const reached = `http://127.0.0.1:${port}`

  const document = await (await fetch(`${reached}/.well-known/did.json`)).json()
  const service = `did:web:localhost%3A${port}`
  assert.equal(document.id, service)

  const { client_id: clientId } = await story.aip.createClient({
    name: 'First name',
    redirectUri: 'http://127.0.0.1/callback',
    scope: 'atproto',
    authMethod: 'none',
  })
  const shown = async () => JSON.parse(await story.aip.command('clients', 'show', clientId, '--output', 'json'))

  const tokenOf = async (person, { aud = service, lxm = method } = {}) => {
    const json = { identifier: person.handle, password: person.password }
    const { accessJwt } = await story.lab.xrpc('POST', 'com.atproto.server.createSession', { json })
    const query = { aud, lxm }
    const { token } = await story.lab.xrpc('GET', 'com.atproto.server.getServiceAuth', { query, token: accessJwt })
    return token
  }
  const update = async (token, clientName) => {
    const response = await fetch(`${reached}/xrpc/${method}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ client_id: clientId, client_name: clientName }),
    })
    return { status: response.status, body: await response.json() }
  }

  const token = await tokenOf(admin)
  const changed = await update(token, 'Second name')
  assert.equal(changed.status, 200, JSON.stringify(changed.body))
  assert.equal(changed.body.client_name, 'Second name')
  assert.match(JSON.stringify(await shown()), /Second name/)

  const refusals = [
    [token, 'BadJwt', 'the same token again'],
    [await tokenOf(admin, { lxm: 'tools.graze.aip.ready' }), 'BadJwtLexiconMethod', 'for another method'],
    [await tokenOf(admin, { aud: 'did:web:other.example' }), 'BadJwtAudience', 'for another service'],
    [await tokenOf(other), 'UntrustedIss', 'of somebody else'],
  ]
  for (const [refused, error, what] of refusals) {
    const { status, body } = await update(refused, 'Third name')
    assert.deepEqual([status, body.error], [401, error], what)
  }
  assert.match(JSON.stringify(await shown()), /Second name/)
}
