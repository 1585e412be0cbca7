// A person's browser: headless Chromium with a profile of its own.

import fs from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'
import { publicKeyHash } from '../lab/certificates.mjs'
import { DEADLINE_MS } from './poll.mjs'

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
const PHONE = { width: 390, height: 844 }

/** As if the person had chosen "Block all cookies" in the settings of the browser. */
function blockCookies(profile) {
  const folder = path.join(profile, 'Default')
  fs.mkdirSync(folder)
  const settings = { profile: { default_content_setting_values: { cookies: 2 } } }
  fs.writeFileSync(path.join(folder, 'Preferences'), JSON.stringify(settings))
}

/** Opens a browser whose secrets (codes it carried, cookies it holds) are noted in `secrets`. */
export async function openBrowser({ profile, certificates, secrets, cookies = true }) {
  if (!cookies) blockCookies(profile)
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP *.internal 127.0.0.1, MAP *.test 127.0.0.1']
  if (certificates) args.push(`--ignore-certificate-errors-spki-list=${publicKeyHash(certificates)}`)
  const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args, viewport: PHONE })
  context.setDefaultTimeout(DEADLINE_MS)
  context.on('request', (request) => secrets.add('authorization code', new URL(request.url()).searchParams.get('code')))
  return {
    page: context.pages()[0] ?? (await context.newPage()),
    async close({ site }) {
      for (const cookie of site ? await context.cookies(site) : []) secrets.add(`cookie ${cookie.name}`, cookie.value)
      await context.close()
      fs.rmSync(profile, { recursive: true, force: true })
    },
  }
}
