// The PDS of the lab: `@atproto/pds` itself, configured for loopback.

import crypto from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import * as pdsPackage from '@atproto/pds'
import { watchSessions } from './sessions.mjs'

// Up to 0.4 the package is CommonJS.
const { PDS, envToCfg, envToSecrets } = { ...pdsPackage.default, ...pdsPackage }
const randomHex = (bytes) => crypto.randomBytes(bytes).toString('hex')

/** Which release of the PDS this is. */
export const pdsRelease = release(new URL(import.meta.resolve('@atproto/pds')))

function release(url) {
  const manifest = new URL('package.json', url)
  const { name, version } = fs.existsSync(manifest) ? JSON.parse(fs.readFileSync(manifest, 'utf8')) : {}
  return name === '@atproto/pds' ? version : release(new URL('../', new URL('.', url)))
}

/** What outlives the process of a PDS that calls itself `publicUrl`: its settings, secrets and data. */
export function newPds({ publicUrl, plcUrl }) {
  const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'aip-e2e-pds-'))
  process.on('exit', () => fs.rmSync(dataDir, { recursive: true, force: true }))
  return {
    publicUrl,
    hostname: new URL(publicUrl).hostname,
    port: 0,
    // Lets the public URL be plain http, and client metadata be fetched from loopback.
    devMode: true,
    disableSsrfProtection: true,
    dataDirectory: dataDir,
    blobstoreDiskLocation: path.join(dataDir, 'blobs'),
    didPlcUrl: plcUrl,
    serviceHandleDomains: ['.test'],
    inviteRequired: false,
    jwtSecret: randomHex(16),
    dpopSecret: randomHex(32),
    adminPassword: randomHex(16),
    plcRotationKeyK256PrivateKeyHex: randomHex(32),
  }
}

/** Starts it; its `app` is the request handler to serve at the public URL. */
export async function startPds(settings) {
  const config = envToCfg(settings)
  // The settings know no port for a name other than localhost.
  config.service.publicUrl = config.oauth.issuer = settings.publicUrl
  const pds = await PDS.create(config, envToSecrets(settings))
  // Left alone it listens on every interface of the machine.
  const listen = pds.app.listen.bind(pds.app)
  pds.app.listen = (port) => listen(port, '127.0.0.1')
  const sessions = watchSessions(pds.ctx.oauthProvider)
  await pds.start()
  return {
    app: pds.app,
    didOf: async (handle) => (await pds.ctx.accountManager.getAccount(handle))?.did,
    oauthSessions: (did) => oauthSessions(pds, did),
    endOauthSessions: (did) => endOauthSessions(pds, did),
    // It is mailed to the person who wants to move away.
    plcToken: (did) => pds.ctx.accountManager.createEmailToken(did, 'plc_operation'),
    ...sessions,
    stop: () => pds.destroy(),
  }
}

/** What the PDS's own "connected apps" page does for the person. */
async function endOauthSessions(pds, did) {
  const { tokenManager } = pds.ctx.oauthProvider
  for (const { id } of await tokenManager.listAccountTokens(did)) await tokenManager.deleteToken(id)
}

/** What the PDS's own "connected apps" page is made from. */
async function oauthSessions(pds, did) {
  const tokens = await pds.ctx.oauthProvider.tokenManager.listAccountTokens(did)
  return tokens.map(({ data, currentRefreshToken }) => ({
    client_id: data.clientId,
    client_auth: data.clientAuth.method,
    client_key: data.clientAuth.kid,
    scope: data.parameters.scope,
    refresh_token: currentRefreshToken,
  }))
}
