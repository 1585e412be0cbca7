// The program in `next` as the stories see it: Next.js with next-auth 5, built for production.

import crypto from 'node:crypto'
import path from 'node:path'
import { ProgramApp } from '../apps/program_app.mjs'
import { nextDir } from '../lib/cache.mjs'

const sources = path.join(import.meta.dirname, 'next')

export class NextAuthApp extends ProgramApp {
  static source = [path.join(sources, 'auth.js'), path.join(sources, 'app', 'api', 'auth', '[...nextauth]', 'route.js')]
  #port = new URL(this.url).port
  /** Next.js calls every loopback address so, and the redirect URI would change on the way. */
  url = `http://localhost:${this.#port}`
  loginUrl = `${this.url}/login`
  command = [process.execPath, path.join(nextDir, 'node_modules', 'next', 'dist', 'bin', 'next'), 'start', nextDir,
    '--hostname', '127.0.0.1', '--port', this.#port]
  redirectUri = `${this.url}/api/auth/callback/aip`

  configure(settings) {
    this.issuer = settings.AIP_URL
    const environment = { AUTH_URL: this.url, AUTH_SECRET: crypto.randomUUID(), NEXT_TELEMETRY_DISABLED: '1' }
    return this.run({}, { ...environment, ...settings })
  }

  async userinfo() {
    const { tokens } = await this.held()
    const response = await fetch(`${this.issuer}/oauth/userinfo`, { headers: { authorization: `Bearer ${tokens.access}` } })
    return { status: response.status, body: await response.json() }
  }
}
