// Servers of the lab on free loopback ports, and a PDS behind one that can go away and come back.

import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { newPds, startPds } from './pds.mjs'

/** A listening server and its URL; the handler is attached later, once the URL is known to it. */
export async function listen(name, certificates) {
  const server = certificates
    ? https.createServer({ key: fs.readFileSync(certificates.key), cert: fs.readFileSync(certificates.chain) })
    : http.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  return { server, port, url: certificates ? `https://${name}.internal:${port}` : `http://localhost:${port}` }
}

export class PdsHost {
  #server
  #port
  #settings
  /** What stories and chaos runs turn; it stays turned over a restart. */
  #knobs = {}
  #ended = []

  static async start({ name, certificates, plcUrl }) {
    const { server, port, url } = await listen(name, certificates)
    const host = new PdsHost(server, port, newPds({ publicUrl: url, plcUrl }))
    await host.#open()
    return host
  }

  constructor(server, port, settings) {
    this.#server = server
    this.#port = port
    this.#settings = settings
    this.url = settings.publicUrl
  }

  async #open() {
    this.pds = await startPds(this.#settings)
    for (const [knob, value] of Object.entries(this.#knobs)) this.pds[knob](value)
    this.#server.on('request', this.#answer)
  }

  #answer = (request, response) => {
    const refused = this.tokenEndpointAnswers && request.url === '/oauth/token'
    if (!refused) return this.pds.app(request, response)
    request.resume()
    response.writeHead(this.tokenEndpointAnswers, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ error: 'TooManyRequests' }))
  }

  /** Turns a knob of the PDS that is a number of milliseconds; `undefined` leaves the rest. */
  turn(knob, ms) {
    this.#knobs[knob] = ms
    this.pds[knob](ms)
  }

  /** The OAuth sessions that the PDS ended, before its restarts, too. */
  endedSessions() {
    return [...this.#ended, ...this.pds.endedSessions()]
  }

  /** Ends the PDS: whoever calls finds nobody listening, and what it held in memory is lost. */
  async goAway() {
    // As the PDS does it: what is being answered is answered, within reason.
    const closed = once(this.#server, 'close')
    this.#server.close()
    const idle = setInterval(() => this.#server.closeIdleConnections(), 10)
    const late = setTimeout(() => this.#server.closeAllConnections(), 5_000)
    await closed
    clearInterval(idle)
    clearTimeout(late)
    this.#server.off('request', this.#answer)
    await this.stop()
  }

  /** Starts it again where it was, on its data. */
  async comeBack() {
    await this.#open()
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  async stop() {
    await this.pds.stop()
    this.#ended.push(...this.pds.endedSessions())
  }
}
