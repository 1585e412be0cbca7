// `authlib_app.py` as the stories see it.

import path from 'node:path'
import { python } from '../lib/cache.mjs'
import { ProgramApp } from './program_app.mjs'

const program = path.join(import.meta.dirname, 'authlib_app.py')

export class AuthlibApp extends ProgramApp {
  static source = program
  command = [python, program]

  configure({ AIP_URL, CLIENT_ID, CLIENT_SECRET, SCOPE }) {
    return this.run({ issuer: AIP_URL, client_id: CLIENT_ID, client_secret: CLIENT_SECRET, scope: SCOPE })
  }
}
