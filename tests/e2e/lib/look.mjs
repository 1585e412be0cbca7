// Looking at a page of AIP as people do who need it to be readable: axe-core must find nothing in
// light and dark, on a phone's width. With E2E_SCREENSHOTS=1 the pages of the story that keeps its
// pictures are written to docs/screenshots; other runs leave the work tree alone.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import axe from 'axe-core'
import { e2eDir } from './cache.mjs'

const screenshots = path.resolve(e2eDir, '..', '..', 'docs', 'screenshots')

export async function look(page, name, { keep = false } = {}) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme })
    await page.evaluate(axe.source)
    const { violations } = await page.evaluate(() => globalThis.axe.run())
    const found = violations.map(({ id, help, nodes }) => `${id}: ${help} (${nodes.map((node) => node.html).join(' ')})`)
    assert.deepEqual(found, [], `axe-core on the ${name} page, ${colorScheme}`)
    const width = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
    assert.ok(width <= 0, `the ${name} page is ${width} px wider than a phone`)
    if (keep && process.env.E2E_SCREENSHOTS === '1') {
      fs.mkdirSync(screenshots, { recursive: true })
      await page.screenshot({ path: path.join(screenshots, `${name}-${colorScheme}.png`), fullPage: true })
    }
  }
}
