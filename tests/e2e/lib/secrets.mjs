// Every secret that a story used, to be looked for afterwards in what `aip` wrote.

import fs from 'node:fs'
import path from 'node:path'

export class Secrets {
  #values = new Map()

  /** Short values are not secrets, and would be found by chance. */
  add(what, value) {
    if (typeof value === 'string' && value.length >= 16) this.#values.set(value, what)
  }

  [Symbol.iterator]() {
    return this.#values[Symbol.iterator]()
  }
}

/** `file: what` for each secret found in a file under `folder`. */
export function filesContaining(folder, secrets) {
  const found = []
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const content = fs.readFileSync(path.join(entry.parentPath, entry.name))
    for (const [value, what] of secrets) {
      if (content.includes(value)) found.push(`${entry.name}: ${what}`)
    }
  }
  return found
}
