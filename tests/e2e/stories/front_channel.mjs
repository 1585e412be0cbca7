// Signing out at one app ends the sessions of another, which the browser tells in a frame, with scripts of
// the app inside it and AIP's policy around it. AIP and the two apps are three sites, as on the Internet.

import assert from 'node:assert/strict'
import { FrontChannelApp } from '../apps/front_channel_app.mjs'

export const name = 'front-channel logout: Chromium opens the frames of both apps, with and without cookies of other sites'
export const lab = 'tls'

class SecondApp extends FrontChannelApp {
  hostName = 'second-app.internal'
}

/** What breaks the Content-Security-Policy of any page, or of a frame, is collected in the array. */
function violationsOf(page) {
  const violations = []
  page.on('console', (message) => {
    if (/content security policy/i.test(message.text())) violations.push(message.text())
  })
  return violations
}

export async function tell(story) {
  await story.startAip()
  const person = await story.newPerson('frank')
  const apps = []
  for (const kind of [FrontChannelApp, SecondApp]) {
    apps.push(await story.newApp(kind, {
      name: kind.name, scope: 'openid atproto', authMethod: 'client_secret_basic',
      more: (app) => [
        '--application-type', 'web', '--post-logout-redirect-uri', app.goodbyeUri,
        '--frontchannel-logout-uri', app.frontchannelLogoutUri, '--frontchannel-logout-session-required', 'true',
      ],
    }))
  }

  // Where cookies of other sites are allowed, as Chrome comes, a frame gets its cookies with SameSite=None, but
  // not those that are partitioned: they were set where the app was the site. Where they are blocked, as
  // Debian's Chromium, Firefox and Safari come, it gets none.
  for (const [blocked, cookies] of [[false, ['none']], [true, []]]) {
    const page = await story.newBrowser({ thirdPartyCookies: !blocked })
    const violations = violationsOf(page)
    const sids = []
    for (const app of apps) {
      const seen = await story.signIn(page, app, person)
      assert.equal(seen.at(-1), 'app:signed-in')
      sids.push((await app.held()).claims.sid)
      app.told.length = 0
    }

    await page.goto(apps[0].logoutUrl)
    assert.equal(new URL(page.url()).origin, story.aip.url)
    assert.match(await page.locator('h1').innerText(), /signed out/)
    // The page goes on by itself.
    await page.waitForURL(apps[0].goodbyeUri)

    for (const [number, app] of apps.entries()) {
      const expected = { iss: story.aip.url, sid: sids[number], tenant: '1', cookies }
      assert.deepEqual(app.told, [expected], `${app.url}, cookies of other sites ${blocked ? 'blocked' : 'allowed'}`)
    }
    assert.deepEqual(violations, [])
    // Nobody is signed in at AIP any more, so the next sign-in asks.
    await page.goto(apps[1].loginUrl)
    await page.locator('form#login').waitFor()
  }
}
