// A person's browser: headless Chromium with a profile of its own.

import fs from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'
import { publicKeyHash } from '../lab/certificates.mjs'
import { DEADLINE_MS } from './poll.mjs'

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
const PHONE = { width: 390, height: 844 }

/** As if the person had chosen "Block all cookies" in the settings of the browser. */
const NO_COOKIES = { default_content_setting_values: { cookies: 2 } }
/** "Allow" or "Block third-party cookies": Chrome comes with the first, Debian's Chromium with the second. */
const thirdParty = (allowed) => ({ block_third_party_cookies: !allowed, cookie_controls_mode: allowed ? 0 : 1 })

/** Writes settings of the browser before it starts. */
function choose(profile, settings) {
  const folder = path.join(profile, 'Default')
  fs.mkdirSync(folder)
  fs.writeFileSync(path.join(folder, 'Preferences'), JSON.stringify({ profile: settings }))
}

/** Opens a browser whose secrets (codes it carried, cookies it holds) are noted in `secrets`. */
export async function openBrowser({ profile, certificates, secrets, cookies = true, thirdPartyCookies }) {
  if (!cookies) choose(profile, NO_COOKIES)
  else if (thirdPartyCookies !== undefined) choose(profile, thirdParty(thirdPartyCookies))
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
