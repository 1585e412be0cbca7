// A real PLC directory and a real PDS on loopback, in one process. Prints one line of JSON with the
// URLs when it is ready and stops on SIGTERM.
//
//   node lab/main.mjs                         http://localhost:PORT
//   LAB_CERTIFICATES='{"key":..,"chain":..}'  https://pds.internal:PORT, https://plc.internal:PORT; needs
//                                             NODE_EXTRA_CA_CERTS with the authority of those files
//   LAB_HANDLES_IN_DNS=1                      answer TXT _atproto.HANDLE (otherwise the PDS's
//                                             com.atproto.identity.resolveHandle is the only way)

import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import os from 'node:os'
import path from 'node:path'
import { startDns } from './dns.mjs'
import { isLabName } from './names.mjs'
import { startPds } from './pds.mjs'
import { createPlc } from './plc.mjs'

const certificates = process.env.LAB_CERTIFICATES && JSON.parse(process.env.LAB_CERTIFICATES)

/** A listening server and its URL; the handler is attached later, once the URL is known to it. */
async function listen(name) {
  const server = certificates
    ? https.createServer({ key: fs.readFileSync(certificates.key), cert: fs.readFileSync(certificates.chain) })
    : http.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  return { server, port, url: certificates ? `https://${name}.internal:${port}` : `http://localhost:${port}` }
}

/** What the PDS offers to nobody outside, for the stories to look at and to turn. */
function control(pds) {
  const routes = {
    'GET /oauth-sessions': (query) => pds.oauthSessions(query.get('did')),
    'PUT /access-token-lifetime': (query) => pds.setAccessTokenLifetime(Number(query.get('ms'))),
  }
  return async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://control')
    const route = routes[`${request.method} ${pathname}`]
    if (!route) return response.writeHead(404).end()
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify((await route(searchParams)) ?? {}))
  }
}

const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'aip-e2e-pds-'))
process.on('exit', () => fs.rmSync(dataDir, { recursive: true, force: true }))

const plc = await listen('plc')
plc.server.on('request', createPlc())

const front = await listen('pds')
const pds = await startPds({ publicUrl: front.url, plcUrl: plc.url, dataDir })
front.server.on('request', pds.app)

const controller = http.createServer(control(pds)).listen(0, '127.0.0.1')
await once(controller, 'listening')

const handlesInDns = process.env.LAB_HANDLES_IN_DNS === '1'
const dns = await startDns({ isHost: isLabName, didOf: async (handle) => (handlesInDns ? pds.didOf(handle) : undefined) })

process.once('SIGTERM', async () => {
  await pds.stop()
  process.exit(0)
})
console.log(JSON.stringify({
  pds: front.url,
  plc: plc.url,
  dns: `127.0.0.1:${dns.port}`,
  control: `http://127.0.0.1:${controller.address().port}`,
}))
