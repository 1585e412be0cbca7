// Where the installed packages of the stories are kept: a cache folder outside the checkout, keyed by
// the content of the lock files, so that a change of those gets a fresh folder and nothing else does.

import crypto from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

export const e2eDir = path.dirname(import.meta.dirname)
const cacheDir = path.resolve(process.env.E2E_CACHE_DIR ?? path.join(os.homedir(), '.cache', 'aip-e2e'))

function keyOf(...files) {
  const hash = crypto.createHash('sha256').update(process.version)
  for (const file of files) hash.update(fs.readFileSync(path.join(e2eDir, file)))
  return hash.digest('hex').slice(0, 16)
}

/** The files of a folder and those inside it, but for what is installed or built there. */
function sourcesIn(folder) {
  const entries = fs.readdirSync(path.join(e2eDir, folder), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
  const sources = entries.filter(({ name }) => !['node_modules', '.next', 'target'].includes(name))
  return sources.flatMap((entry) => {
    const file = path.join(folder, entry.name)
    return entry.isDirectory() ? sourcesIn(file) : [file]
  })
}

/** The folder that names the newest PDS. */
export const newestDir = path.join(e2eDir, 'newest')
export const newestModulesDir = path.join(cacheDir, `newest-${keyOf('newest/package.json', 'newest/package-lock.json')}`)
export const modulesDir = path.join(cacheDir, `node-${keyOf('package.json', 'package-lock.json')}`)
/** The folder of the stock clients, and their packages. */
export const clientsDir = path.join(e2eDir, 'clients')
export const clientModulesDir = path.join(cacheDir, `clients-${keyOf('clients/package.json', 'clients/package-lock.json')}`)
/** Where the programs in Go are, built from clients/go. */
export const goProgramsDir = path.join(cacheDir, `go-${keyOf('clients/go/go.mod', 'clients/go/go.sum', 'clients/go/main.go')}`)
/** Where the app with Next.js is, built from clients/next. */
export const nextSources = path.join(clientsDir, 'next')
export const nextDir = path.join(cacheDir, `next-${keyOf(...sourcesIn('clients/next'))}`)
/** The app in Rust, built from clients/rust. */
export const rustDir = path.join(cacheDir, `rust-${keyOf(...sourcesIn('clients/rust'))}`)
export const rustProgram = path.join(rustDir, 'aip-e2e-rust-app')
export const venvDir = path.join(cacheDir, `python-${keyOf('requirements.txt')}`)
/** Where the app with Spring Security is, built from clients/spring. */
const springFiles = ['pom.xml', 'src/main/java/aip/App.java', 'src/main/resources/application.yaml'].map((file) => `clients/spring/${file}`)
export const springDir = path.join(cacheDir, `spring-${keyOf(...springFiles)}`)
/** The folder of the SDKs of the AT Protocol, and their packages. */
export const sdksDir = path.join(e2eDir, 'sdks')
export const sdkModulesDir = path.join(cacheDir, `sdks-${keyOf('sdks/package.json', 'sdks/package-lock.json')}`)
export const sdkVenvDir = path.join(cacheDir, `sdk-python-${keyOf('sdks/requirements.txt')}`)

/** The Python that has the packages of sdks/requirements.txt. */
export const sdkPython = path.join(sdkVenvDir, 'bin', 'python')

/** The Python that has the packages of requirements.txt. */
export const python = process.env.PYTHON ?? path.join(venvDir, 'bin', 'python')
