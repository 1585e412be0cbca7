// What no setting of the PDS can turn, and what it does not tell: how long its access tokens live, how
// long it looks at them, and why it ends sessions. All of it sets properties of the running provider.

/** An access token whose end is written as `exp` in seconds lives at least so long. */
const SECOND = 1000

/**
 * Instruments `provider`, the OAuth provider of a PDS. Every session that it ends is written to standard
 * error with time and cause: `deleteToken` is the one way in which it forgets one.
 */
export function watchSessions(provider) {
  const { tokenManager: tokens } = provider
  const { store } = tokens
  const ended = []
  let told = 0
  let rowRead = 0
  let failures = 0

  const readToken = store.readToken.bind(store)
  store.readToken = async (id) => {
    const info = await readToken(id)
    if (rowRead > 0) await new Promise((resolve) => setTimeout(resolve, rowRead))
    return info
  }

  const findToken = store.findTokenByRefreshToken.bind(store)
  store.findTokenByRefreshToken = async (token) => {
    if (failures > 0 && failures--) throw new Error('the store cannot be read, on order of a story')
    return findToken(token)
  }

  const deleteToken = store.deleteToken.bind(store)
  store.deleteToken = async (id) => {
    const cause = causeOf(new Error('deleteToken'))
    const info = await readToken(id).catch(() => null)
    const end = { did: info?.account?.sub ?? info?.account?.did ?? info?.data?.sub ?? '', at: Date.now(), cause }
    ended.push(end)
    console.error(JSON.stringify({ event: 'deleteToken', ...end }))
    return deleteToken(id)
  }

  const buildTokenResponse = tokens.buildTokenResponse.bind(tokens)
  tokens.buildTokenResponse = (...args) => {
    const response = buildTokenResponse(...args)
    // The life of the response is a getter, so that it is counted when the response is written.
    return told > 0 ? { ...response, expires_in: Math.round(told / SECOND) } : response
  }

  return {
    endedSessions: () => ended,
    setAccessTokenLifetime(ms) {
      tokens.tokenMaxAge = ms
    },
    setToldLifetime(ms) {
      told = ms
    },
    failLookUps(times) {
      failures = times
    },
    setRowRead(ms) {
      rowRead = ms
    },
  }
}

/** What the PDS was doing when it ended a session, by who called whom. */
const CAUSES = {
  loadTokenClaims: 'an ordinary call: the access token ran out between the two looks, or has another key',
  consumeRefreshToken: 'a refresh token that was used before',
  refreshTokenGrant: 'an error in a refresh, after the token was found',
  revoke: 'revoked by the client',
  authorizationCodeGrant: 'a code that was used before',
}

function causeOf(error) {
  const callers = (error.stack ?? '').split('\n').map((line) => /at (?:async )?(?:\S+\.)?(\w+) /.exec(line)?.[1])
  const known = callers.find((name) => Object.hasOwn(CAUSES, name))
  return known ? `${known}: ${CAUSES[known]}` : callers.filter(Boolean).slice(2, 6).join(' < ')
}
