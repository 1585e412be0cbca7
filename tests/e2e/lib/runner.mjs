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

/** The labs with the newest PDS, which the network runs, or with the last one that runs on Node 20. */
function labsOf(release) {
  const newest = release === 'newest'
  const certificates = JSON.parse(process.env.E2E_CERTIFICATES)
  return {
    http: once(() => Lab.start({ newest, log: path.join(root, `lab-http-${release}.log`) })),
    tls: once(() => Lab.start({ newest, log: path.join(root, `lab-tls-${release}.log`), certificates, handlesInDns: true })),
  }
}

/** Labs take seconds to start: each is started when the first story asks for it, and kept. */
function once(start) {
  let started
  return { get: () => (started ??= start()), stop: async () => (await started)?.stop() }
}

async function tell({ file, name, lab: kind, tell: body }, labs) {
  const began = performance.now()
  const lab = await labs[kind].get()
  const folder = path.join(root, `${file}-${lab.release}`)
  fs.mkdirSync(folder)
  let failure
  const story = new Story({ folder, lab })
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
  console.log(`${failure ? 'not ok' : 'ok'} - ${name} (PDS ${lab.release}, ${seconds} s)`)
  if (failure) console.log(indent(failure.stack), indent(story.aipLog ? `\nthe log of aip ends with:\n${story.aipLog}` : ''))
  return !failure
}

const indent = (text) => text.replace(/^/gm, '    ')

const files = fs.readdirSync(path.join(e2eDir, 'stories')).sort()
const chosen = files.filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
const stories = await Promise.all(chosen.map(async (file) => ({ file, ...(await import(path.join(e2eDir, 'stories', file))) })))
const outcomes = []
for (const release of ['newest', 'before']) {
  const labs = labsOf(release)
  // Every story is told with the newest PDS; with the one before those that depend on what a PDS does.
  const told = stories.filter((story) => release === 'newest' || story.onBothReleases)
  for (const story of told) outcomes.push(await tell(story, labs))
  for (const lab of Object.values(labs)) await lab.stop()
}

const passed = outcomes.filter(Boolean).length
console.log(`${passed} passed, ${outcomes.length - passed} failed`)
process.exit(passed > 0 && passed === outcomes.length ? 0 : 1)
