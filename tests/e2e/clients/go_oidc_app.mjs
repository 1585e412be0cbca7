// `go/main.go` as the stories see it.

import path from 'node:path'
import { ProgramApp } from '../apps/program_app.mjs'
import { goProgramsDir } from '../lib/cache.mjs'

export class GoOidcApp extends ProgramApp {
  static source = path.join(import.meta.dirname, 'go', 'main.go')
  command = [path.join(goProgramsDir, 'oidc-app')]

  configure({ SCOPE, ...settings }) {
    return this.run({ ...settings, APP_URL: this.url, SCOPE: SCOPE.split(' ') })
  }
}
