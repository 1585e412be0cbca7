// The program in `spring` as the stories see it. Spring Security signs people in at its own paths.

import path from 'node:path'
import { ProgramApp } from '../apps/program_app.mjs'
import { springDir } from '../lib/cache.mjs'

const sources = path.join(import.meta.dirname, 'spring', 'src', 'main')

export class SpringApp extends ProgramApp {
  static source = [path.join(sources, 'java', 'aip', 'App.java'), path.join(sources, 'resources', 'application.yaml')]
  command = ['java', '-XX:TieredStopAtLevel=1', '-jar', path.join(springDir, 'target', 'spring-app.jar')]
  startDeadlineMs = 180_000 // a Java virtual machine on a busy machine
  loginUrl = `${this.url}/oauth2/authorization/aip`
  redirectUri = `${this.url}/login/oauth2/code/aip`

  configure({ AIP_URL, CLIENT_ID, CLIENT_SECRET }) {
    this.issuer = AIP_URL
    return this.run({}, { AIP_URL, CLIENT_ID, CLIENT_SECRET, PORT: new URL(this.url).port })
  }

  async userinfo() {
    const { tokens } = await this.held()
    const response = await fetch(`${this.issuer}/oauth/userinfo`, { headers: { authorization: `Bearer ${tokens.access}` } })
    return { status: response.status, body: await response.json() }
  }
}
