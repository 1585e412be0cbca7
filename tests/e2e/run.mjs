// Runs the end-to-end stories: real PDS and PLC, real browser, stock OAuth clients, and the `aip` binary.
//
//   AIP_BIN=target/release/aip node run.mjs [WORD ...]    only stories whose file name has one of the words
//
//   E2E_CACHE_DIR     where setup.mjs installed the packages      PYTHON      a Python with requirements.txt
//   E2E_SCREENSHOTS=1 write docs/screenshots                      E2E_KEEP=1  keep the temporary folder
//   CHROMIUM          the browser (default: Debian's)

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { makeCertificates } from './lab/certificates.mjs'

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'aip-e2e-'))
const certificates = makeCertificates(root)

// Node reads the authorities that it trusts once, at its start: hence a second process. Whatever it and
// its programs put into their temporary folder goes with ours.
const runner = spawn(process.execPath, [path.join(import.meta.dirname, 'lib', 'runner.mjs'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: {
    ...process.env,
    NODE_EXTRA_CA_CERTS: certificates.ca,
    E2E_CERTIFICATES: JSON.stringify(certificates),
    E2E_ROOT: root,
    TMPDIR: root,
  },
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => runner.kill(signal))
runner.on('exit', (code) => {
  if (process.env.E2E_KEEP === '1') console.error(`kept: ${root}`)
  else fs.rmSync(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  process.exit(code ?? 1)
})
