// Waiting without sleeping blindly: a condition is asked again until it holds or its deadline passes.

import { setTimeout as pause } from 'node:timers/promises'

/** Generous, because the machine may be busy; a story that works never comes near it. */
export const DEADLINE_MS = 30_000

/** The first truthy value of `ask()`; fails naming `what` when there was none within the deadline. */
export async function until(what, ask, deadlineMs = DEADLINE_MS) {
  const end = performance.now() + deadlineMs
  for (;;) {
    const value = await ask()
    if (value) return value
    if (performance.now() > end) throw new Error(`gave up waiting ${deadlineMs / 1000} s for: ${what}`)
    await pause(50)
  }
}

/** `promise`, or a failure that names `what` at the deadline. */
export async function within(what, promise, deadlineMs = DEADLINE_MS) {
  const timer = new AbortController()
  const late = pause(deadlineMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`gave up waiting ${deadlineMs / 1000} s for: ${what}`)
  })
  late.catch(() => {}) // aborted when the promise won
  try {
    return await Promise.race([promise, late])
  } finally {
    timer.abort()
  }
}
