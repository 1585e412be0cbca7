// Installs what the stories need into the cache folder: node_modules (linked into this folder), those of
// the newest PDS with the Node.js that it needs (linked into newest/), those of the stock clients (linked
// into clients/), the clients in Go, Java, Rust and for Next.js, the SDKs of the AT Protocol (linked into sdks/, those in Python into an
// environment of their own) and, unless PYTHON names one, a Python environment for the Authlib app and
// schemathesis. A second run installs nothing.
//
//   E2E_CACHE_DIR=... node setup.mjs      (default: ~/.cache/aip-e2e)

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import {
  clientModulesDir, clientsDir, e2eDir, goProgramsDir, modulesDir, newestDir, newestModulesDir, nextDir, nextSources, rustDir, rustProgram,
  sdkModulesDir, sdksDir, sdkVenvDir, springDir, venvDir,
} from './lib/cache.mjs'

/**
 * Fills `folder` with `build`, once. The mark is written last: an install that was interrupted is
 * done again from the start, not taken for a finished one.
 */
async function once(folder, build) {
  const mark = path.join(folder, '.complete')
  if (fs.existsSync(mark)) return
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { recursive: true })
  await build()
  fs.writeFileSync(mark, '')
}

function run(cwd, env, command, ...args) {
  console.error(`+ ${command} ${args.join(' ')}`)
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', process.stderr, process.stderr] })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`${command} ${args.join(' ')} ended with ${code}`))))
  })
}

/** node-gyp downloads the headers of Node unless it is told that they are here already. */
function nodeHeaders() {
  const prefix = path.resolve(fs.realpathSync(process.execPath), '..', '..')
  const here = !process.env.npm_config_nodedir && fs.existsSync(path.join(prefix, 'include', 'node', 'node.h'))
  return here ? { npm_config_nodedir: prefix } : {}
}

/** The Node.js that comes as a package: its program comes first, its headers are for node-gyp. */
function packagedNode(modules) {
  const bin = path.join(modules, 'node_modules', '.bin')
  const prefix = path.resolve(fs.realpathSync(path.join(bin, 'node')), '..', '..')
  return { npm_config_nodedir: prefix, PATH: `${bin}${path.delimiter}${process.env.PATH}` }
}

/** `rebuildWith` are the settings under which better-sqlite3 is compiled, for those that need it. */
async function install(from, modules, rebuildWith) {
  await once(modules, async () => {
    for (const file of ['package.json', 'package-lock.json']) {
      fs.copyFileSync(path.join(from, file), path.join(modules, file))
    }
    // better-sqlite3 is the only package that must be compiled; no other install script is run.
    await run(modules, {}, 'npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund')
    if (rebuildWith) await run(modules, rebuildWith(), 'npm', 'rebuild', 'better-sqlite3')
  })
  const link = path.join(from, 'node_modules')
  fs.rmSync(link, { recursive: true, force: true })
  fs.symlinkSync(path.join(modules, 'node_modules'), link)
}

/** A Python environment in `folder` with the packages that `from` lists. */
async function installPython(from, folder) {
  await once(folder, async () => {
    await run(from, {}, 'python3', '-m', 'venv', folder)
    await run(from, {}, path.join(folder, 'bin', 'pip'), 'install', '--quiet', '--requirement', 'requirements.txt')
  })
}

/** The clients in Go: an app with go-oidc, and oauth2-proxy. */
async function installGo() {
  await once(goProgramsDir, () => run(path.join(clientsDir, 'go'), {}, 'bash', 'build.sh', goProgramsDir))
}

/** The client in Java. Maven writes beside the sources, so they are copied. */
async function installSpring() {
  await once(springDir, async () => {
    fs.cpSync(path.join(clientsDir, 'spring'), springDir, { recursive: true })
    await run(springDir, {}, 'mvn', '--quiet', '--batch-mode', 'package')
  })
}

/** The app with Next.js. It is built beside its packages, so its sources are copied. */
async function installNext() {
  await once(nextDir, async () => {
    fs.cpSync(nextSources, nextDir, { recursive: true })
    await run(nextDir, {}, 'npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund')
    await run(nextDir, { NEXT_TELEMETRY_DISABLED: '1' }, 'npx', '--no-install', 'next', 'build')
  })
}

/** The client in Rust. What it shares with AIP is built once: they have one target folder. */
async function installRust() {
  await once(rustDir, async () => {
    const target = process.env.CARGO_TARGET_DIR ?? path.join(e2eDir, '..', '..', 'target')
    await run(path.join(clientsDir, 'rust'), { CARGO_TARGET_DIR: target }, 'cargo', 'build', '--locked')
    fs.copyFileSync(path.join(target, 'debug', path.basename(rustProgram)), rustProgram)
  })
}

// A compiler works for a minute or two on each better-sqlite3: side by side.
await Promise.all([
  install(e2eDir, modulesDir, nodeHeaders),
  install(newestDir, newestModulesDir, () => packagedNode(newestModulesDir)),
  install(clientsDir, clientModulesDir),
  install(sdksDir, sdkModulesDir),
  process.env.PYTHON ? undefined : installPython(e2eDir, venvDir),
  installPython(sdksDir, sdkVenvDir),
  installGo(),
  installSpring(),
  installNext(),
  installRust(),
])
