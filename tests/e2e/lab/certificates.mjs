// A throw-away certificate authority and one server certificate for every name of the lab, made by
// openssl at run time: no key is kept in the repository and none outlives the run.

import { execFileSync } from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { serverNames } from './names.mjs'

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** Makes `ca.pem`, `leaf.key` and `leaf-chain.pem` in `folder` and returns their paths. */
export function makeCertificates(folder) {
  const file = (name) => path.join(folder, name)
  const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })

  openssl('req', '-x509', ...newKey, '-days', '2', '-subj', '/CN=AIP e2e CA', '-keyout', file('ca.key'), '-out', file('ca.pem'),
    '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign')
  openssl('req', ...newKey, '-subj', '/CN=AIP e2e servers', '-keyout', file('leaf.key'), '-out', file('leaf.csr'))
  const names = ['DNS:localhost', 'IP:127.0.0.1', ...serverNames.map((name) => `DNS:${name}`)].join(',')
  fs.writeFileSync(file('leaf.ext'),
    `basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=${names}\n`)
  openssl('x509', '-req', '-in', file('leaf.csr'), '-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial',
    '-days', '2', '-sha256', '-extfile', file('leaf.ext'), '-out', file('leaf.pem'))
  fs.writeFileSync(file('leaf-chain.pem'), Buffer.concat([fs.readFileSync(file('leaf.pem')), fs.readFileSync(file('ca.pem'))]))

  return { ca: file('ca.pem'), key: file('leaf.key'), chain: file('leaf-chain.pem') }
}

/** Chromium's name for the lab's server key: it trusts that one key and nothing else of our making. */
export function publicKeyHash(certificates) {
  const key = crypto.createPublicKey(fs.readFileSync(certificates.chain)).export({ type: 'spki', format: 'der' })
  return crypto.createHash('sha256').update(key).digest('base64')
}
