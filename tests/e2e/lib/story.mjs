// What a story has in its hands: an `aip` of its own, apps, browsers, people. Everything that it starts
// is ended when the story is over, and what `aip` wrote is searched for the secrets that were used.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { ReferenceClient } from '../apps/reference_client.mjs'
import { Aip } from './aip.mjs'
import { openBrowser } from './browser.mjs'
import { Recipe } from './recipe.mjs'
import { Secrets } from './secrets.mjs'
import { walk } from './walk.mjs'

export class Story {
  #folder
  #cleanups = []
  #secrets = new Secrets()

  constructor({ folder, lab }) {
    this.#folder = folder
    this.lab = lab
  }

  /** A fresh `aip serve` with more `settings`; call it before anything that talks to it, so that it outlives that. */
  async startAip(settings = {}) {
    const aip = await Aip.prepare({ folder: this.#newFolder('aip'), lab: this.lab, settings })
    this.aip = aip
    await aip.start()
    this.#cleanups.push(async () => {
      await this.#stopAip()
      assert.deepEqual(aip.leaks(this.#secrets), [], 'no secret is in the log or the data of aip')
    })
  }

  /** Ends `aip serve` and starts it again on the same data, with which `work` may do something between. */
  async restartAip(work = async () => {}) {
    await this.#stopAip()
    await work()
    await this.aip.start()
  }

  async #stopAip() {
    assert.equal(await this.aip.stop(), 0, 'aip serve ends with 0 when it is asked to')
  }

  /**
   * An app that is registered at AIP; `kind` is OpenidClientApp or one with its methods. `more(app)` are
   * arguments of `aip clients create` in the place of those for a program on a person's device.
   */
  async newApp(kind, { name, scope, authMethod = 'none', more }) {
    const log = path.join(this.#folder, `${name}.log`)
    const app = await kind.start({ secrets: this.#secrets, certificates: this.lab.certificates, log })
    this.#cleanups.push(() => app.stop())
    const client = await this.aip.createClient({ name, scope, authMethod, redirectUri: app.redirectUri, more: more?.(app) })
    this.#secrets.add('client secret', client.client_secret)
    await app.configure({ issuer: this.aip.url, client, scope })
    app.clientId = client.client_id
    app.clientSecret = client.client_secret
    return app
  }

  /** An app of tests/e2e/clients, registered as `docs/clients/NAME.md` says. */
  async newAppOf(kind, name) {
    const recipe = new Recipe(name)
    recipe.mustBeIn([kind.source].flat())
    const log = path.join(this.#folder, `${name}.log`)
    const app = await kind.start({ secrets: this.#secrets, certificates: this.lab.certificates, log })
    this.#cleanups.push(() => app.stop())
    const files = (await app.files?.()) ?? {}
    const client = await this.aip.createClientBy(recipe.registration(app.redirectUri), files)
    this.#secrets.add('client secret', client.client_secret)
    const { scope } = recipe
    await app.configure({ AIP_URL: this.aip.url, CLIENT_ID: client.client_id, CLIENT_SECRET: client.client_secret, SCOPE: scope })
    app.clientId = client.client_id
    return app
  }

  /** A client of the AT Protocol at the PDS itself, without AIP. */
  async newReferenceClient() {
    const client = await ReferenceClient.start(this.lab)
    this.#cleanups.push(() => client.stop())
    return client
  }

  /** Has `end` run when the story is over. */
  whenOver(end) {
    this.#cleanups.push(end)
  }

  async newPerson(name) {
    const person = await this.lab.newPerson(name)
    this.#secrets.add('password', person.password)
    return person
  }

  /**
   * A browser of its own for a person, who may have switched `cookies` off, or chosen about those of other
   * sites than the one in the address bar (`thirdPartyCookies`); returns its page.
   */
  async newBrowser({ cookies = true, thirdPartyCookies } = {}) {
    const browser = await openBrowser({
      profile: this.#newFolder('browser'),
      certificates: this.lab.certificates,
      secrets: this.#secrets,
      cookies,
      thirdPartyCookies,
    })
    this.#cleanups.push(() => browser.close({ site: this.aip?.url }))
    return browser.page
  }

  /**
   * The person, whose account is `at` a lab's PDS, signs in at `app`; returns the names of the pages they
   * came through.
   */
  async signIn(page, app, person, { at = this.lab, ...choices } = {}) {
    const seen = await walk(page, app.loginUrl, { person, ...choices })
    for (const session of await at.oauthSessions(person.did)) {
      this.#secrets.add('refresh token of the PDS', session.refresh_token)
    }
    return seen
  }

  /** Ends everything, the youngest first; the first failure is thrown when all is ended. */
  async end() {
    const failures = []
    for (const cleanup of this.#cleanups.reverse()) {
      await cleanup().catch((error) => failures.push(error))
    }
    if (failures.length > 0) throw failures[0]
  }

  /** The end of aip's log, for a story that failed. */
  get aipLog() {
    return this.aip?.logTail
  }

  #newFolder(name) {
    return fs.mkdtempSync(path.join(this.#folder, `${name}-`))
  }
}
