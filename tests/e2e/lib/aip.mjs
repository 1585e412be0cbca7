// `aip` under test: the binary named by AIP_BIN, in a folder of its own. The one place that knows the
// names of its settings and commands.

import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { until } from './poll.mjs'
import { Program, freePort } from './process.mjs'
import { filesContaining } from './secrets.mjs'

const binary = process.env.AIP_BIN && path.resolve(process.env.AIP_BIN)

export class Aip {
  #program
  #env
  #folder
  #readyUrl

  /**
   * An `aip` in the empty `folder`, not yet running. Against an http lab it has its defaults (a loopback
   * development client); against a TLS lab it is `https://aip.internal` (a confidential client).
   */
  static async prepare({ folder, lab, settings: more = {} }) {
    if (!binary) throw new Error('AIP_BIN does not name the aip binary')
    return new Aip({ folder, lab, more, port: await freePort(), internalPort: await freePort() })
  }

  constructor({ folder, lab, more, port, internalPort }) {
    this.#folder = folder
    this.#env = { PATH: process.env.PATH, HOME: folder, ...settings(lab, port, internalPort), ...more }
    this.#readyUrl = `http://127.0.0.1:${internalPort}/internal/ready`
    this.url = lab.certificates ? `https://aip.internal:${port}` : `http://127.0.0.1:${port}`
  }

  /** Runs `aip serve` until it is ready. */
  async start() {
    const log = path.join(this.#folder, 'aip.log')
    this.#program = new Program('aip serve', binary, ['serve'], { env: this.#env, cwd: this.#folder, log })
    const ready = () => fetch(this.#readyUrl).then((response) => response.ok, () => false)
    await this.#program.whileRunning(until('aip to be ready', ready))
  }

  /** Asks the server to end and returns its exit code. */
  stop() {
    return this.#program.stop()
  }

  /** Registers an app, with `more` arguments: `client_id` and, for `client_secret_*`, `client_secret`. */
  async createClient({ name, redirectUri, scope, authMethod, more }) {
    const created = await this.command('clients', 'create', '--name', name, '--redirect-uri', redirectUri, '--scope', scope,
      '--auth-method', authMethod,
      // The apps of most stories listen on loopback, as programs on a person's device do.
      ...(more ?? ['--application-type', 'native']), '--output', 'json')
    return JSON.parse(created)
  }

  /** Registers an app by the command of a guide, which may name `files`; what it answers, as `createClient`. */
  async createClientBy(command, files) {
    for (const [name, content] of Object.entries(files)) fs.writeFileSync(path.join(this.#folder, name), content)
    const script = `aip() { "$PROGRAM" --output json "$@"; }\n${command}`
    const env = { ...this.#env, PROGRAM: binary }
    const { stdout } = await promisify(execFile)('sh', ['-euc', script], { env, cwd: this.#folder })
    return JSON.parse(stdout)
  }

  /** Runs a command beside the server; what it prints. A failure has the `stderr` of the command. */
  async command(...args) {
    const { stdout } = await promisify(execFile)(binary, args, { env: this.#env, cwd: this.#folder })
    return stdout.trim()
  }

  /**
   * Orders a developer token: the `link` that the command prints, what it prints when the person has made the
   * token (`made`), and `giveUp`.
   */
  async orderToken(...args) {
    const words = ['tokens', 'create', ...args, '--output', 'json']
    const command = promisify(execFile)(binary, words, { env: this.#env, cwd: this.#folder })
    const made = command.then(({ stdout }) => JSON.parse(stdout))
    const link = new Promise((resolve) => {
      let said = ''
      command.child.stderr.on('data', (more) => {
        said += more
        const found = said.match(/(https?:\S+\?order=\S+)\n/)
        if (found) resolve(found[1])
      })
    })
    // A command that ends before it has printed a link has failed.
    return { link: await Promise.race([link, made]), made, giveUp: () => command.child.kill('SIGINT') }
  }

  /** Has the server read its keys again. */
  async reload() {
    const done = () => this.#program.count('key set reloaded')
    const before = done()
    this.#program.signal('SIGHUP')
    await this.#program.whileRunning(until('the keys to be read again', () => done() > before))
  }

  /** Which files that it wrote (log, database) contain one of the secrets. */
  leaks(secrets) {
    return filesContaining(this.#folder, secrets)
  }

  get logTail() {
    return this.#program?.logTail
  }
}

function settings(lab, port, internalPort) {
  const common = {
    AIP_LISTEN: `127.0.0.1:${port}`,
    AIP_INTERNAL_LISTEN: `127.0.0.1:${internalPort}`,
    AIP_LOG: 'trace',
    AIP_PLC_URLS: lab.plc,
    AIP_DEVELOPMENT: 'true',
    AIP_HANDLE_RESOLVERS: lab.pds,
    DNS_NAMESERVERS: lab.dns,
  }
  if (!lab.certificates) return common
  return {
    ...common,
    AIP_EXTERNAL_BASE: `https://aip.internal:${port}`,
    AIP_TLS_CERT_FILE: lab.certificates.chain,
    AIP_TLS_KEY_FILE: lab.certificates.key,
    AIP_DEVELOPMENT_HOSTS: ['pds', 'second-pds', 'plc'].map((name) => `${name}.internal=127.0.0.1`).join(),
    CERTIFICATE_BUNDLES: lab.certificates.ca,
  }
}
