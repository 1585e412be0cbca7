// A person walking through the pages of a sign-in, doing on each what a person does there. Which pages
// come, and in which order, is not assumed: it is the result, for the story to judge.

import { look } from './look.mjs'
import { DEADLINE_MS } from './poll.mjs'

// The order matters where two marks are on one page: the PDS's sign-in form has a "Sign in" button too.
const pages = [
  {
    name: 'aip:login',
    mark: (page) => page.locator('form#login'),
    async act(page, { person }) {
      await page.locator('input[name=subject]').fill(person.handle)
      await page.locator('button#continue').click()
    },
  },
  {
    name: 'aip:consent',
    mark: (page) => page.locator('form#consent'),
    act: (page, { consent }) => page.locator(consent === 'deny' ? 'button#deny' : 'button#allow').click(),
  },
  {
    name: 'aip:token-order',
    mark: (page) => page.locator('form#token-order'),
    act: (page) => page.locator('button#make').click(),
  },
  { name: 'aip:device-answered', mark: (page) => page.getByRole('heading', { name: /^Your device is / }) },
  { name: 'aip:token-made', mark: (page) => page.locator('main#token-made') },
  { name: 'aip:account', mark: (page) => page.locator('form#sign-out') },
  { name: 'aip:error', mark: (page) => page.locator('main#error') },
  {
    name: 'pds:sign-in',
    mark: (page) => page.locator('input[name="password"]'),
    async act(page, { person, remember }) {
      const identifier = page.locator('input[name="username"]')
      if (await identifier.isEditable()) await identifier.fill(person.handle)
      await page.locator('input[name="password"]').fill(person.password)
      if (remember) await page.locator('input[name="remember"]').check()
      await page.locator('form button[type="submit"]').click()
    },
  },
  {
    name: 'pds:consent',
    mark: (page) => page.getByRole('button', { name: 'Authorize', exact: true }),
    act: (page, { atPds }) => page.getByRole('button', { name: atPds === 'deny' ? 'Deny access' : 'Authorize', exact: true }).click(),
  },
  {
    name: 'pds:welcome',
    mark: (page) => page.getByRole('button', { name: 'Sign in', exact: true }),
    act: (page) => page.getByRole('button', { name: 'Sign in', exact: true }).click(),
  },
  { name: 'app:signed-in', mark: (page) => page.locator('main#signed-in') },
  { name: 'app:refused', mark: (page) => page.locator('main#refused') },
]

const MOST_PAGES = 12

/**
 * Opens `url` and walks until a page where nothing is left to do; returns the names of the pages seen.
 * `choices`: `person`, `remember` (at the PDS), `consent: 'deny'` (at AIP), `atPds: 'deny'`,
 * `keep` (pictures of AIP's pages), `stopAt` (the name of a page on which nothing is done).
 */
export async function walk(page, url, choices) {
  await page.goto(url)
  return walkOn(page, choices)
}

/** The same from the page that is open. */
export async function walkOn(page, choices) {
  const seen = []
  while (seen.length < MOST_PAGES) {
    const here = await recognise(page, seen)
    seen.push(here.name)
    if (here.name.startsWith('aip:')) await look(page, here.name.replace('aip:', ''), choices)
    if (!here.act || here.name === choices.stopAt) return seen
    await here.act(page, choices)
    await here.mark(page).waitFor({ state: 'hidden' })
  }
  throw new Error(`no end of pages: ${seen.join(' -> ')}`)
}

async function recognise(page, seen) {
  const anyMark = pages.map(({ mark }) => mark(page)).reduce((any, mark) => any.or(mark))
  try {
    await anyMark.first().waitFor({ timeout: DEADLINE_MS })
  } catch (cause) {
    const text = await page.locator('body').innerText().catch(() => '')
    throw new Error(`a page that nobody knows, after ${seen.join(' -> ') || 'the start'}: ${page.url()}\n${text.slice(0, 600)}`, { cause })
  }
  for (const known of pages) if (await known.mark(page).isVisible()) return known
  return recognise(page, seen) // it changed between the two looks
}
