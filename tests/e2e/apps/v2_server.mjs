// What AIP v2.2.2 is towards a PDS: a confidential client at the address of AIP, whose key has a public
// `did:key` as its id, with its key inline in its metadata. And its database, as `aip import` finds it.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import crypto from 'node:crypto'
import fs from 'node:fs'
import https from 'node:https'
import readline from 'node:readline'
import { promisify } from 'node:util'
import { JoseKey, NodeOAuthClient } from '@atproto/oauth-client-node'
import { signedInPage } from './pages.mjs'

const repository = new URL('../../../', import.meta.url)
const scope = 'atproto transition:generic'
const app = { id: '18841372-4202-41bf-89a4-e58d29f206ac', secret: crypto.randomBytes(32).toString('base64url') }

export class V2Server {
  #server
  #client
  #key
  #sessions = new Map()

  /** Listens at `url`, where AIP will. */
  static async start({ lab, url }) {
    const key = newKey()
    const { certificates } = lab
    const server = https.createServer({ key: fs.readFileSync(certificates.key), cert: fs.readFileSync(certificates.chain) })
    server.listen(Number(new URL(url).port), '127.0.0.1')
    await once(server, 'listening')
    return new V2Server({ server, key, lab, url })
  }

  constructor({ server, key, lab, url }) {
    this.#server = server
    this.#key = key
    const metadata = {
      client_id: `${url}/oauth-client-metadata.json`,
      client_uri: url,
      redirect_uris: [`${url}/oauth/atp/callback`],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      scope,
      dpop_bound_access_tokens: true,
      application_type: 'web',
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [{ ...publicJwk(key.jwk), kid: key.kid, alg: 'ES256', use: 'sig' }] },
    }
    this.#client = JoseKey.fromJWK(JSON.stringify({ ...key.jwk, kid: key.kid, alg: 'ES256' })).then((jose) =>
      new NodeOAuthClient({
        keyset: [jose],
        clientMetadata: metadata,
        handleResolver: lab.pds,
        plcDirectoryUrl: lab.plc,
        allowHttp: true,
        stateStore: storeIn(new Map()),
        sessionStore: storeIn(this.#sessions),
        requestLock: (_key, run) => run(),
        fetch: withP256Alone,
      }))
    server.on('request', (request, response) => this.#serve(new URL(request.url, url), metadata, response))
  }

  async #serve(url, metadata, response) {
    if (url.pathname === '/oauth/atp/callback') {
      const { session } = await (await this.#client).callback(url.searchParams)
      return response.setHeader('content-type', 'text/html').end(signedInPage(session.did))
    }
    if (url.pathname !== '/oauth-client-metadata.json') response.statusCode = 404
    response.setHeader('content-type', 'application/json').end(JSON.stringify(metadata))
  }

  /** The `kid` of its key towards PDSs. */
  get kid() {
    return this.#key.kid
  }

  /** `ATPROTO_OAUTH_SIGNING_KEYS`. */
  get signingKeys() {
    return this.#key.did
  }

  async loginUrl(person) {
    return (await (await this.#client).authorize(person.handle, { scope })).href
  }

  /** Writes the person's session into its tables, with the tokens that the app has of it, which are returned. */
  async write(database, person) {
    const { dpopJwk, tokenSet } = this.#sessions.get(person.did)
    const tokens = { access: newToken(), refresh: newToken() }
    const row = {
      session_id: crypto.randomUUID(),
      did: person.did,
      jkt: thumbprint(this.#key.jwk),
      dpop_key: didKeyOf(dpopJwk),
      access_token: tokenSet.access_token,
      refresh_token: tokenSet.refresh_token,
      expires_at: tokenSet.expires_at,
      scopes: JSON.stringify(tokenSet.scope.split(' ')),
      document: JSON.stringify({
        id: person.did,
        service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: tokenSet.aud }],
      }),
    }
    await database.run(`
      INSERT INTO oauth_clients (client_id, client_secret, client_name, redirect_uris, grant_types, response_types, scope,
          token_endpoint_auth_method, client_type, created_at, updated_at)
        VALUES ('${app.id}', '${app.secret}', 'lab app', '["https://app.internal/callback"]',
          '["authorization_code", "refresh_token"]', '["code"]', '${scope}', 'client_secret_post', 'confidential', now(), now())
        ON CONFLICT DO NOTHING;
      INSERT INTO did_documents VALUES ('${row.did}', '${row.document}', now(), now());
      INSERT INTO atp_oauth_sessions (session_id, did, iteration, session_created_at, atp_oauth_state, signing_key_jkt,
          dpop_key, access_token, refresh_token, access_token_created_at, access_token_expires_at, access_token_scopes)
        VALUES ('${row.session_id}', '${row.did}', 1, now(), 'state', '${row.jkt}', '${row.dpop_key}',
          '${row.access_token}', '${row.refresh_token}', now(), '${row.expires_at}', '${row.scopes}');
      INSERT INTO access_tokens (token, client_id, user_id, session_id, session_iteration, scope, created_at, expires_at)
        VALUES ('${tokens.access}', '${app.id}', '${row.did}', '${row.session_id}', 1, '${scope}', now(), now() + interval '1 day');
      INSERT INTO refresh_tokens (token, access_token, client_id, user_id, session_id, scope, created_at, expires_at)
        VALUES ('${tokens.refresh}', '${tokens.access}', '${app.id}', '${row.did}', '${row.session_id}', '${scope}', now(),
          now() + interval '14 days');`)
    return tokens
  }

  async stop() {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

/** PostgreSQL with v2's tables. */
export class V2Database {
  #child
  #directory

  static async start() {
    const script = fs.readFileSync(new URL('crates/aip-testkit/src/postgres.sh', repository), 'utf8')
    // The folder of temporary files of the stories is not open to the user that PostgreSQL runs as.
    const { TMPDIR: _ours, ...env } = process.env
    const child = spawn('sh', ['-c', script, 'sh', script], { env, stdio: ['pipe', 'pipe', 'inherit'] })
    const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`PostgreSQL did not start (${code})`)))
    const ready = once(readline.createInterface({ input: child.stdout }), 'line')
    const [line] = await Promise.race([ready, ended])
    ended.catch(() => {})
    const database = new V2Database(child, line.replace(/^ready /, ''))
    await database.run(fs.readFileSync(new URL('crates/aip-import-v2/testdata/v2_schema.sql', repository), 'utf8'))
    return database
  }

  constructor(child, directory) {
    this.#child = child
    this.#directory = directory
  }

  /** `DATABASE_URL`. */
  get url() {
    return `postgres://aip@localhost/postgres?host=${this.#directory}`
  }

  async run(sql) {
    await promisify(execFile)('psql', ['--no-psqlrc', '--quiet', '--set', 'ON_ERROR_STOP=1', '--command', sql, this.url])
  }

  async stop() {
    const ended = once(this.#child, 'exit')
    this.#child.stdin.end()
    await ended
  }
}

/** The app of v2, which changed nothing: a request to AIP with its id and secret. */
export async function refreshAsApp(url, refreshToken) {
  const body = new URLSearchParams({
    grant_type: 'refresh_token',
    refresh_token: refreshToken,
    client_id: app.id,
    client_secret: app.secret,
  })
  const response = await fetch(`${url}/oauth/token`, { method: 'POST', body })
  return { status: response.status, body: await response.json() }
}

/** Every session of v2 has a P-256 key; this library would take another curve if the server offers it. */
async function withP256Alone(...request) {
  const response = await fetch(...request)
  if (!response.url.endsWith('/.well-known/oauth-authorization-server')) return response
  const metadata = { ...(await response.json()), dpop_signing_alg_values_supported: ['ES256'] }
  return new Response(JSON.stringify(metadata), { status: response.status, headers: { 'content-type': 'application/json' } })
}

function newToken() {
  return crypto.randomBytes(32).toString('base64url')
}

/** A key as v2 has it in its settings. */
function newKey() {
  const jwk = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
  const [x, y] = [jwk.x, jwk.y].map((it) => Buffer.from(it, 'base64url'))
  const point = Buffer.concat([Buffer.from([0x80, 0x24, 2 + (y[31] & 1)]), x])
  return { jwk, did: didKeyOf(jwk), kid: `did:key:z${base58(point)}` }
}

function didKeyOf(jwk) {
  return `did:key:z${base58(Buffer.concat([Buffer.from([0x86, 0x26]), Buffer.from(jwk.d, 'base64url')]))}`
}

function publicJwk({ kty, crv, x, y }) {
  return { kty, crv, x, y }
}

/** RFC 7638. */
function thumbprint({ crv, kty, x, y }) {
  return crypto.createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}

function base58(bytes) {
  const alphabet = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
  let number = BigInt(`0x${bytes.toString('hex')}`)
  let text = ''
  for (; number > 0n; number /= 58n) text = alphabet[Number(number % 58n)] + text
  return text
}

function storeIn(held) {
  return {
    get: async (key) => held.get(key),
    set: async (key, value) => void held.set(key, value),
    del: async (key) => void held.delete(key),
  }
}
