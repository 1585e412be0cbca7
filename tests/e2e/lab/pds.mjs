// The PDS of the lab: `@atproto/pds` itself, configured for loopback.

import crypto from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import pdsPackage from '@atproto/pds'

const { PDS, envToCfg, envToSecrets } = pdsPackage
const randomHex = (bytes) => crypto.randomBytes(bytes).toString('hex')

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
  await pds.start()
  return {
    app: pds.app,
    didOf: async (handle) => (await pds.ctx.accountManager.getAccount(handle))?.did,
    oauthSessions: (did) => oauthSessions(pds, did),
    // It is mailed to the person who wants to move away.
    plcToken: (did) => pds.ctx.accountManager.createEmailToken(did, 'plc_operation'),
    setAccessTokenLifetime(ms) {
      // No setting exists for it; an hour is long for a story.
      pds.ctx.oauthProvider.tokenManager.tokenMaxAge = ms
    },
    stop: () => pds.destroy(),
  }
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
