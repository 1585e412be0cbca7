// Where people come back to: the marks are those of ../../../apps/pages.mjs.

import { auth } from '../auth.js'

export default async function Page({ searchParams }) {
  const [session, { error }] = [await auth(), await searchParams]
  return session?.did && !error ? <main id="signed-in">{session.did}</main> : <main id="refused">{error}</main>
}
