// An express app with the npm package passport-openidconnect, which knows no discovery and no PKCE.

import crypto from 'node:crypto'
import express from 'express'
import session from 'express-session'
import passport from 'passport'
import OpenIDConnectStrategy from 'passport-openidconnect'
import { refusedPage, signedInPage } from '../apps/pages.mjs'
import { StockApp } from './stock_app.mjs'

export class PassportApp extends StockApp {
  static source = import.meta.filename

  async configure({ AIP_URL, CLIENT_ID, CLIENT_SECRET, SCOPE }) {
    this.issuer = AIP_URL
    const keep = (did, accessToken, refreshToken, idToken, profile) => {
      this.profile = profile
      this.keep({ access_token: accessToken, refresh_token: refreshToken, id_token: idToken }, { sub: did })
    }
    const redirectUri = this.redirectUri

    const aip = new OpenIDConnectStrategy({
      issuer: AIP_URL,
      authorizationURL: `${AIP_URL}/oauth/authorize`,
      tokenURL: `${AIP_URL}/oauth/token`,
      userInfoURL: `${AIP_URL}/oauth/userinfo`,
      clientID: CLIENT_ID,
      clientSecret: CLIENT_SECRET,
      callbackURL: redirectUri,
      scope: SCOPE.replace('openid ', ''), // it adds `openid` itself
    }, (issuer, profile, context, idToken, accessToken, refreshToken, done) => {
      keep(profile.id, accessToken, refreshToken, idToken, profile)
      done(null, { did: profile.id, handle: profile.username })
    })

    const site = express()
    const authenticator = new passport.Passport()
    authenticator.use(aip)
    site.use(session({ secret: crypto.randomUUID(), resave: false, saveUninitialized: false, name: 'passport_app' }))
    site.get('/login', authenticator.authenticate('openidconnect', { session: false }))
    site.get('/callback', (request, response, next) => {
      authenticator.authenticate('openidconnect', { session: false }, (error, user) => {
        if (error) return next(error)
        response.send(user ? signedInPage(user.did) : refusedPage('access_denied'))
      })(request, response, next)
    })
    site.use((error, request, response, _next) => response.send(refusedPage(error.code ?? error.stack)))
    this.answerWith(site)
  }
}
