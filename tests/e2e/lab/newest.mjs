// The same lab with the newest PDS (../newest), which needs another Node than this machine may have:
//
//   newest/node_modules/node-linux-*/bin/node lab/newest.mjs

import { registerHooks } from 'node:module'

const lab = new URL('.', import.meta.url).href
const parentURL = new URL('../newest/package.json', import.meta.url).href

// What the lab imports by name it gets from the folder of the newest PDS.
registerHooks({
  resolve(specifier, context, next) {
    const ours = context.parentURL?.startsWith(lab) && /^(@|[a-z])/.test(specifier) && !specifier.includes(':')
    return next(specifier, ours ? { ...context, parentURL } : context)
  },
})

await import('./main.mjs')
