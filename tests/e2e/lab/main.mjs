// A real PLC directory and a real PDS (a second one, when asked for) on loopback, in one process. Prints one line of JSON with the
// URLs when it is ready and stops on SIGTERM.
//
//   node lab/main.mjs                         http://localhost:PORT; newest.mjs has the newest PDS
//   LAB_CERTIFICATES='{"key":..,"chain":..}'  https://pds.internal:PORT, https://plc.internal:PORT; needs
//                                             NODE_EXTRA_CA_CERTS with the authority of those files
//   LAB_HANDLES_IN_DNS=1                      answer TXT _atproto.HANDLE (otherwise the PDS's
//                                             com.atproto.identity.resolveHandle is the only way)

import { once } from 'node:events'
import http from 'node:http'
import { startDns } from './dns.mjs'
import { PdsHost, listen } from './host.mjs'
import { isLabName } from './names.mjs'
import { pdsRelease } from './pds.mjs'
import { createPlc } from './plc.mjs'

const certificates = process.env.LAB_CERTIFICATES && JSON.parse(process.env.LAB_CERTIFICATES)

const plc = await listen('plc', certificates)
plc.server.on('request', createPlc())

const hosts = { first: await PdsHost.start({ name: 'pds', certificates, plcUrl: plc.url }) }

async function second() {
  hosts.second ??= await PdsHost.start({ name: 'second-pds', certificates, plcUrl: plc.url })
  return { pds: hosts.second.url }
}

/** What the PDSs offer to nobody outside, for the stories to look at and to turn; `at` names one of them. */
const routes = {
  'POST /second': second,
  'GET /oauth-sessions': ({ at, did }) => hosts[at].pds.oauthSessions(did),
  'DELETE /oauth-sessions': ({ at, did }) => hosts[at].pds.endOauthSessions(did),
  'GET /plc-token': ({ at, did }) => hosts[at].pds.plcToken(did),
  'GET /ended-sessions': ({ at }) => hosts[at].endedSessions(),
  // How long access tokens live; how long clients are told that they do (0: the truth); how long the PDS
  // takes to read the row of a token, between its two looks at the end of it.
  'PUT /access-token-lifetime': ({ at, ms }) => hosts[at].turn('setAccessTokenLifetime', Number(ms)),
  'PUT /told-lifetime': ({ at, ms }) => hosts[at].turn('setToldLifetime', Number(ms)),
  'PUT /row-read': ({ at, ms }) => hosts[at].turn('setRowRead', Number(ms)),
  // So many refresh tokens are not found because the store cannot be read.
  'PUT /failing-look-ups': ({ at, ms: times }) => hosts[at].pds.failLookUps(Number(times)),
  // A status, in place of the PDS's own answers; 0: those.
  'PUT /token-endpoint': ({ at, ms: status }) => void (hosts[at].tokenEndpointAnswers = Number(status)),
  'POST /go-away': ({ at }) => hosts[at].goAway(),
  'POST /come-back': ({ at }) => hosts[at].comeBack(),
}

async function control(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://control')
  const route = routes[`${request.method} ${pathname}`]
  if (!route) return response.writeHead(404).end()
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify((await route({ at: 'first', ...Object.fromEntries(searchParams) })) ?? {}))
}

const controller = http.createServer(control).listen(0, '127.0.0.1')
await once(controller, 'listening')

/** The DID behind a handle, at whichever PDS the account is active. */
async function didOf(handle) {
  if (process.env.LAB_HANDLES_IN_DNS !== '1') return undefined
  const dids = await Promise.all(Object.values(hosts).map((host) => host.pds.didOf(handle)))
  return dids.find(Boolean)
}

const dns = await startDns({ isHost: isLabName, didOf })

process.once('SIGTERM', async () => {
  await Promise.all(Object.values(hosts).map((host) => host.stop()))
  process.exit(0)
})
console.log(JSON.stringify({
  release: pdsRelease,
  pds: hosts.first.url,
  plc: plc.url,
  dns: `127.0.0.1:${dns.port}`,
  control: `http://127.0.0.1:${controller.address().port}`,
}))
