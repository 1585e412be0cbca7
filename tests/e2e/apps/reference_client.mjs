// The AT Protocol's own client library, directly at the PDS: it stands where AIP will stand, so that a
// fault of the lab shows without AIP.

import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { JoseKey, NodeOAuthClient } from '@atproto/oauth-client-node'
import { signedInPage } from './pages.mjs'

const scope = 'atproto transition:generic'
const common = { scope, grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], dpop_bound_access_tokens: true }

export class ReferenceClient {
  #server
  #client

  /** A public client on loopback, or in a TLS lab a confidential one with metadata of its own. */
  static async start(lab) {
    const { certificates } = lab
    const server = certificates
      ? https.createServer({ key: fs.readFileSync(certificates.key), cert: fs.readFileSync(certificates.chain) })
      : http.createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address()
    const client = new NodeOAuthClient({
      ...(certificates ? await confidential(`https://aip.internal:${port}`) : loopback(`http://127.0.0.1:${port}`)),
      handleResolver: lab.pds,
      plcDirectoryUrl: lab.plc,
      allowHttp: true,
      stateStore: memoryStore(),
      sessionStore: memoryStore(),
      requestLock: (_key, run) => run(),
    })
    return new ReferenceClient(server, client)
  }

  constructor(server, client) {
    this.#server = server
    this.#client = client
    server.on('request', (request, response) => this.#serve(new URL(request.url, 'http://client'), response))
  }

  async #serve(url, response) {
    if (url.pathname === '/callback') {
      const { session } = await this.#client.callback(url.searchParams)
      this.session = session
      return response.setHeader('content-type', 'text/html').end(signedInPage(session.did))
    }
    const documents = { '/client.json': this.#client.clientMetadata, '/jwks.json': this.#client.jwks }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(documents[url.pathname]))
  }

  async loginUrl(person) {
    return (await this.#client.authorize(person.handle, { scope })).href
  }

  async stop() {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

function loopback(base) {
  const redirectUri = `${base}/callback`
  const clientId = `http://localhost?${new URLSearchParams({ redirect_uri: redirectUri, scope })}`
  return {
    clientMetadata: {
      ...common,
      client_id: clientId,
      redirect_uris: [redirectUri],
      application_type: 'native',
      token_endpoint_auth_method: 'none',
    },
  }
}

async function confidential(base) {
  return {
    keyset: [await JoseKey.generate(['ES256'], 'key-1')],
    clientMetadata: {
      ...common,
      client_id: `${base}/client.json`,
      client_uri: base,
      redirect_uris: [`${base}/callback`],
      jwks_uri: `${base}/jwks.json`,
      application_type: 'web',
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
    },
  }
}

function memoryStore() {
  const held = new Map()
  return {
    get: async (key) => held.get(key),
    set: async (key, value) => void held.set(key, value),
    del: async (key) => void held.delete(key),
  }
}
