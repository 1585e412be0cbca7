// An app that signs people in with next-auth 5. `next_auth_app.mjs` starts it, with its settings in the
// environment.

import NextAuth from 'next-auth'

const { AIP_URL, CLIENT_ID, CLIENT_SECRET, SCOPE } = process.env

/** One person at a time: the stories look at what the app holds. Each route has a module of its own. */
export const held = (globalThis.held ??= {})

export const { handlers, auth, signIn } = NextAuth({
  pages: { signIn: '/', error: '/' },
  providers: [{
    id: 'aip', name: 'AIP', type: 'oidc', checks: ['pkce', 'state', 'nonce'],
    issuer: AIP_URL, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET,
    authorization: { params: { scope: SCOPE } },
    profile: (claims) => ({ id: claims.sub, name: claims.preferred_username }),
  }],
  callbacks: {
    jwt({ token, account, profile }) {
      if (!account) return token // at the sign-in alone there is one
      Object.assign(held, { token: account, claims: profile })
      return { ...token, did: profile.sub }
    },
    session: ({ session, token }) => ({ ...session, did: token.did }),
  },
})
