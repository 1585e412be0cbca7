// A page of docs/clients: its command registers the app of a story, and what it shows of a program is in the
// program that the story runs. So a page that is wrong fails its story.

import fs from 'node:fs'
import path from 'node:path'
import { e2eDir } from './cache.mjs'

const folder = path.join(e2eDir, '..', '..', 'docs', 'clients')

/** What every page has in the place of an app's own redirect URI. */
const REDIRECT_URI = /https:\/\/app\.example\/[\w/-]*/

export class Recipe {
  #blocks

  /** The page `name.md`. */
  constructor(name) {
    this.file = path.join(folder, `${name}.md`)
    const page = fs.readFileSync(this.file, 'utf8')
    this.#blocks = [...page.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, text]) => ({ language, text }))
  }

  /** The shell command that registers the app, with its redirect URI. */
  registration(redirectUri) {
    const commands = this.#blocks.filter(({ language, text }) => language === 'sh' && text.startsWith('aip clients create'))
    if (commands.length !== 1) throw new Error(`${this.file} has ${commands.length} commands that register an app, not one`)
    const [{ text }] = commands
    if (!REDIRECT_URI.test(text)) throw new Error(`${this.file} registers no redirect URI under https://app.example/`)
    return text.replace(REDIRECT_URI, redirectUri)
  }

  /** The scope that it registers. */
  get scope() {
    const [, scope] = this.registration('').match(/--scope '([^']+)'/) ?? []
    if (!scope) throw new Error(`${this.file} registers no scope`)
    return scope
  }

  /** Fails unless each line of the page's program is in one of the `sources`, however far indented. */
  mustBeIn(sources) {
    const lines = new Set(sources.flatMap((source) => fs.readFileSync(source, 'utf8').split('\n')).map((line) => line.trim()))
    const programs = this.#blocks.filter(({ language }) => language !== 'sh')
    if (programs.length === 0) throw new Error(`${this.file} shows no program`)
    const missing = programs.flatMap(({ text }) => text.split('\n')).map((line) => line.trim()).filter((line) => line && !lines.has(line))
    if (missing.length > 0) throw new Error(`${this.file} shows lines that are not in ${sources.join(' and ')}:\n${missing.join('\n')}`)
  }
}
