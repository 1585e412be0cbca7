// The lab (real PDS and PLC, ../lab) as the stories see it.

import crypto from 'node:crypto'
import path from 'node:path'
import { e2eDir } from './cache.mjs'
import { Program } from './process.mjs'

export class Lab {
  #program
  #ready
  #at

  /** Plain http, or https on `*.internal` if `certificates` are given. */
  static async start({ log, certificates, handlesInDns = false }) {
    const env = { ...process.env, LAB_HANDLES_IN_DNS: handlesInDns ? '1' : '0' }
    if (certificates) env.LAB_CERTIFICATES = JSON.stringify(certificates)
    const program = new Program('the lab', process.execPath, [path.join(e2eDir, 'lab', 'main.mjs')], { env, log, readsLines: true })
    return new Lab(program, await program.jsonLine(), certificates)
  }

  constructor(program, ready, certificates, at = 'first') {
    this.#program = program
    this.#ready = ready
    this.#at = at
    this.pds = ready.pds
    this.plc = ready.plc
    this.dns = ready.dns
    this.certificates = certificates
  }

  /** The same lab with another PDS in the place of the first. It is started for the first who asks. */
  async second() {
    const { pds } = await this.#turn('POST', 'second')
    return new Lab(this.#program, { ...this.#ready, pds }, this.certificates, 'second')
  }

  /** A new person with an account at the PDS; every story has people of its own, so names are not shared. */
  async newPerson(name) {
    const handle = `${name}.test`
    const password = crypto.randomBytes(12).toString('hex')
    const json = { handle, password, email: `${name}@mail.test` }
    const { did } = await this.xrpc('POST', 'com.atproto.server.createAccount', { json })
    return { handle, password, did }
  }

  /** A call to the PDS, as programs other than AIP make it; what it answers, or a failure. */
  async xrpc(method, nsid, { query, json, bytes, token } = {}) {
    const headers = {
      ...(token && { authorization: `Bearer ${token}` }),
      ...(json && { 'content-type': 'application/json' }),
      ...(bytes && { 'content-type': 'application/vnd.ipld.car' }),
    }
    const search = query ? `?${new URLSearchParams(query)}` : ''
    const response = await fetch(`${this.pds}/xrpc/${nsid}${search}`, { method, headers, body: bytes ?? (json && JSON.stringify(json)) })
    const body = Buffer.from(await response.arrayBuffer())
    if (!response.ok) throw new Error(`${nsid} answered ${response.status}: ${body}`)
    return response.headers.get('content-type')?.includes('json') ? JSON.parse(body) : body
  }

  /**
   * The OAuth sessions that the PDS holds for an account: `client_id`, `client_auth`, `client_key`, `scope`,
   * `refresh_token`.
   */
  oauthSessions(did) {
    return this.#turn('GET', 'oauth-sessions', { did })
  }

  /** The code that the PDS mails to somebody who wants to change their DID document. */
  plcToken(did) {
    return this.#turn('GET', 'plc-token', { did })
  }

  /** Nobody listens at the PDS while `run` runs; then it is back, without what it had in memory. */
  async withoutPds(run) {
    await this.#turn('POST', 'go-away')
    try {
      return await run()
    } finally {
      await this.#turn('POST', 'come-back')
    }
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
    await this.#turn('PUT', 'access-token-lifetime', { ms })
  }

  async #turn(method, route, query = {}) {
    const response = await fetch(`${this.#ready.control}/${route}?${new URLSearchParams({ at: this.#at, ...query })}`, { method })
    if (!response.ok) throw new Error(`the lab answered ${response.status} at ${route}`)
    return response.json()
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
