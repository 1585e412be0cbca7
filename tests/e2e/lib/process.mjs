// Programs started by the stories: output into a file, ended by their own pid, never left behind.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import readline from 'node:readline'
import { within } from './poll.mjs'

const running = new Set()
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')))

/** A TCP port of loopback that nobody listened on a moment ago. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

export class Program {
  #child
  #exit

  /** Starts `command`; what it says on stderr (and stdout, unless lines are read) goes to `log`. */
  constructor(name, command, args, { env, cwd, log, readsLines = false }) {
    const out = fs.openSync(log, 'a')
    this.name = name
    this.log = log
    this.#child = spawn(command, args, { cwd, env, stdio: ['ignore', readsLines ? 'pipe' : out, out] })
    fs.closeSync(out)
    running.add(this.#child)
    this.#exit = new Promise((resolve) => {
      this.#child.once('error', (error) => resolve(error.message))
      this.#child.once('exit', (code, signal) => resolve(signal ?? code))
    }).finally(() => running.delete(this.#child))
  }

  /** The next line of its stdout, as JSON; fails with its log if it ends before that. */
  async jsonLine() {
    const lines = readline.createInterface({ input: this.#child.stdout })
    const line = within(`a line from ${this.name}`, once(lines, 'line'), 60_000)
    return JSON.parse((await Promise.race([line, this.#failOnExit()]))[0])
  }

  /** `promise`, unless the program ends first: then its log is the story. */
  async whileRunning(promise) {
    return Promise.race([promise, this.#failOnExit()])
  }

  signal(name) {
    this.#child.kill(name)
  }

  /** How often its log has these words. */
  count(words) {
    return fs.readFileSync(this.log, 'utf8').split(words).length - 1
  }

  /** Asks it to end and returns its exit code (or the signal that ended it). */
  async stop() {
    if (running.has(this.#child)) this.#child.kill('SIGTERM')
    try {
      return await within(`${this.name} to stop`, this.#exit)
    } finally {
      if (running.has(this.#child)) this.#child.kill('SIGKILL')
    }
  }

  get logTail() {
    return fs.readFileSync(this.log, 'utf8').slice(-4000)
  }

  async #failOnExit() {
    const exit = await this.#exit
    throw new Error(`${this.name} ended (${exit}); its log ends with:\n${this.logTail}`)
  }
}
