// The lab (real PDS and PLC, ../lab) as the stories see it.

import crypto from 'node:crypto'
import path from 'node:path'
import { e2eDir, newestDir } from './cache.mjs'
import { Program } from './process.mjs'

export class Lab {
  #program
  #ready
  #at

  /** Plain http, or https on `*.internal` if `certificates` are given; with the newest PDS or the one before. */
  static async start({ log, newest, certificates, handlesInDns = false }) {
    const env = { ...process.env, LAB_HANDLES_IN_DNS: handlesInDns ? '1' : '0' }
    if (certificates) env.LAB_CERTIFICATES = JSON.stringify(certificates)
    const node = newest ? path.join(newestDir, 'node_modules', '.bin', 'node') : process.execPath
    const script = path.join(e2eDir, 'lab', newest ? 'newest.mjs' : 'main.mjs')
    const program = new Program('the lab', node, [script], { env, log, readsLines: true })
    return new Lab(program, await program.jsonLine(), certificates)
  }

  constructor(program, ready, certificates, at = 'first') {
    this.#program = program
    this.#ready = ready
    this.#at = at
    this.release = ready.release
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

  /** The person ends all OAuth sessions of their account at the PDS. */
  async endOauthSessions(did) {
    await this.#turn('DELETE', 'oauth-sessions', { did })
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

  /**
   * The PDS tells clients that the access tokens which it gives while `run` runs live so long. They live
   * longer: a token that does run out while the PDS looks at it ends the session.
   */
  async withToldLifetime(ms, run) {
    return this.#with('told-lifetime', ms, 0, run)
  }

  /** The access tokens that the PDS gives while `run` runs do live so long. */
  async withAccessTokenLifetime(ms, run) {
    return this.#with('access-token-lifetime', ms, 3_600_000, run)
  }

  /** While `run` runs, so much time lies between the two looks of the PDS at an access token. */
  async withRowRead(ms, run) {
    return this.#with('row-read', ms, 0, run)
  }

  /** The PDS cannot read its store when it looks for the next refresh token: it says `invalid_grant`. */
  async failNextLookUp() {
    await this.#turn('PUT', 'failing-look-ups', { ms: 1 })
  }

  /** While `run` runs, the token endpoint answers with this status and does nothing. */
  async withTokenEndpoint(status, run) {
    return this.#with('token-endpoint', status, 0, run)
  }

  /** The sessions that the PDS has ended: whose, when and why. */
  endedSessions() {
    return this.#turn('GET', 'ended-sessions')
  }

  async #with(knob, ms, usual, run) {
    await this.#turn('PUT', knob, { ms })
    try {
      return await run()
    } finally {
      await this.#turn('PUT', knob, { ms: usual })
    }
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
