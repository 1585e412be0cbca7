// Runs the stories one after the other and prints one line for each. Started by ../run.mjs.

import fs from 'node:fs'
import path from 'node:path'
import '../lab/names.mjs'
import { e2eDir } from './cache.mjs'
import { Lab } from './lab.mjs'
import { Story } from './story.mjs'

const root = process.env.E2E_ROOT
const words = process.argv.slice(2)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

const labs = {
  http: once(() => Lab.start({ log: path.join(root, 'lab-http.log') })),
  tls: once(() => Lab.start({
    log: path.join(root, 'lab-tls.log'),
    certificates: JSON.parse(process.env.E2E_CERTIFICATES),
    handlesInDns: true,
  })),
}

/** Labs take seconds to start: each is started when the first story asks for it, and kept. */
function once(start) {
  let started
  return { get: () => (started ??= start()), stop: async () => (await started)?.stop() }
}

async function tell(file) {
  const { name, lab, tell: body } = await import(path.join(e2eDir, 'stories', file))
  const began = performance.now()
  const folder = path.join(root, file)
  fs.mkdirSync(folder)
  let failure
  const story = new Story({ folder, lab: await labs[lab].get() })
  try {
    await body(story)
  } catch (error) {
    failure = error
  }
  try {
    await story.end()
  } catch (error) {
    failure ??= error
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  console.log(`${failure ? 'not ok' : 'ok'} - ${name} (${seconds} s)`)
  if (failure) console.log(indent(failure.stack), indent(story.aipLog ? `\nthe log of aip ends with:\n${story.aipLog}` : ''))
  return !failure
}

const indent = (text) => text.replace(/^/gm, '    ')

const files = fs.readdirSync(path.join(e2eDir, 'stories')).sort()
const chosen = files.filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
const outcomes = []
for (const file of chosen) outcomes.push(await tell(file))
for (const lab of Object.values(labs)) await lab.stop()

const passed = outcomes.filter(Boolean).length
console.log(`${passed} passed, ${outcomes.length - passed} failed`)
process.exit(passed > 0 && passed === outcomes.length ? 0 : 1)
