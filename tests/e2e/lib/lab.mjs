// The lab (real PDS and PLC, ../lab) as the stories see it.

import crypto from 'node:crypto'
import path from 'node:path'
import { e2eDir } from './cache.mjs'
import { Program } from './process.mjs'

export class Lab {
  #program
  #control

  /** Plain http, or https on `*.internal` if `certificates` are given. */
  static async start({ log, certificates, handlesInDns = false }) {
    const env = { ...process.env, LAB_HANDLES_IN_DNS: handlesInDns ? '1' : '0' }
    if (certificates) env.LAB_CERTIFICATES = JSON.stringify(certificates)
    const program = new Program('the lab', process.execPath, [path.join(e2eDir, 'lab', 'main.mjs')], { env, log, readsLines: true })
    return new Lab(program, await program.jsonLine(), certificates)
  }

  constructor(program, ready, certificates) {
    this.#program = program
    this.#control = ready.control
    this.pds = ready.pds
    this.plc = ready.plc
    this.dns = ready.dns
    this.certificates = certificates
  }

  /** A new person with an account at the PDS; every story has people of its own, so names are not shared. */
  async newPerson(name) {
    const handle = `${name}.test`
    const password = crypto.randomBytes(12).toString('hex')
    const response = await fetch(`${this.pds}/xrpc/com.atproto.server.createAccount`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ handle, password, email: `${name}@mail.test` }),
    })
    const body = await response.json()
    if (!response.ok) throw new Error(`createAccount answered ${response.status}: ${JSON.stringify(body)}`)
    return { handle, password, did: body.did }
  }

  /** The OAuth sessions that the PDS holds for an account: `client_id`, `client_auth`, `scope`, `refresh_token`. */
  async oauthSessions(did) {
    return (await fetch(`${this.#control}/oauth-sessions?did=${did}`)).json()
  }

  /** How long the access tokens live that the PDS gives from now on, while `run` runs. */
  async withAccessTokenLifetime(ms, run) {
    await this.#setAccessTokenLifetime(ms)
    try {
      return await run()
    } finally {
      await this.#setAccessTokenLifetime(3_600_000)
    }
  }

  async #setAccessTokenLifetime(ms) {
    await fetch(`${this.#control}/access-token-lifetime?ms=${ms}`, { method: 'PUT' })
  }

  /** The record as the PDS itself gives it to anybody. */
  async publicRecord(uri) {
    const [repo, collection, rkey] = uri.replace('at://', '').split('/')
    const response = await fetch(`${this.pds}/xrpc/com.atproto.repo.getRecord?${new URLSearchParams({ repo, collection, rkey })}`)
    return response.ok ? response.json() : undefined
  }

  stop() {
    return this.#program.stop()
  }
}
