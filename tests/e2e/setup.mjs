// Installs what the stories need into the cache folder: node_modules (linked into this folder) and,
// unless PYTHON names one, a Python environment for the Authlib app. A second run installs nothing.
//
//   E2E_CACHE_DIR=... node setup.mjs      (default: ~/.cache/aip-e2e)

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { e2eDir, modulesDir, venvDir } from './lib/cache.mjs'

/**
 * Fills `folder` with `build`, once. The mark is written last: an install that was interrupted is
 * done again from the start, not taken for a finished one.
 */
function once(folder, build) {
  const mark = path.join(folder, '.complete')
  if (fs.existsSync(mark)) return
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { recursive: true })
  build()
  fs.writeFileSync(mark, '')
}

function run(cwd, command, ...args) {
  console.error(`+ ${command} ${args.join(' ')}`)
  execFileSync(command, args, { cwd, env: { ...nodeHeaders(), ...process.env }, stdio: ['ignore', process.stderr, process.stderr] })
}

/** node-gyp downloads the headers of Node unless it is told that they are here already. */
function nodeHeaders() {
  const prefix = path.resolve(fs.realpathSync(process.execPath), '..', '..')
  return fs.existsSync(path.join(prefix, 'include', 'node', 'node.h')) ? { npm_config_nodedir: prefix } : {}
}

once(modulesDir, () => {
  for (const file of ['package.json', 'package-lock.json']) {
    fs.copyFileSync(path.join(e2eDir, file), path.join(modulesDir, file))
  }
  // better-sqlite3 is the only package that must be compiled; no other install script is run.
  run(modulesDir, 'npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund')
  run(modulesDir, 'npm', 'rebuild', 'better-sqlite3')
})
const link = path.join(e2eDir, 'node_modules')
fs.rmSync(link, { recursive: true, force: true })
fs.symlinkSync(path.join(modulesDir, 'node_modules'), link)

if (!process.env.PYTHON) {
  once(venvDir, () => {
    run(e2eDir, 'python3', '-m', 'venv', venvDir)
    run(e2eDir, path.join(venvDir, 'bin', 'pip'), 'install', '--quiet', '--requirement', 'requirements.txt')
  })
}
