// The page of the AppAuth-JS app. SETTINGS are put in when it is bundled (appauth_app.mjs).

import {
  AuthorizationNotifier, AuthorizationRequest, AuthorizationServiceConfiguration, BaseTokenRequestHandler, BasicQueryStringUtils,
  FetchRequestor, LocalStorageBackend, RedirectRequestHandler, RevokeTokenRequest, TokenRequest,
} from '@openid/appauth'

const { AIP_URL, CLIENT_ID, REDIRECT_URI, SCOPE } = SETTINGS

// It looks for the answer behind `#`, where only the implicit flow puts it, unless it is told otherwise.
class AnswerInQuery extends BasicQueryStringUtils {
  parse(location) {
    return super.parse(location, false)
  }
}

const requestor = new FetchRequestor()
const handler = new RedirectRequestHandler(new LocalStorageBackend(), new AnswerInQuery())
const tokenHandler = new BaseTokenRequestHandler(requestor)
const aip = await AuthorizationServiceConfiguration.fetchFromIssuer(AIP_URL, requestor)
let tokens

function signIn() {
  handler.performAuthorizationRequest(aip, new AuthorizationRequest({
    client_id: CLIENT_ID, redirect_uri: REDIRECT_URI, scope: SCOPE, response_type: AuthorizationRequest.RESPONSE_TYPE_CODE,
  }))
}

async function redeem(request, response) {
  tokens = await tokenHandler.performTokenRequest(aip, new TokenRequest({
    grant_type: 'authorization_code', client_id: CLIENT_ID, redirect_uri: REDIRECT_URI, code: response.code,
    extras: { code_verifier: request.internal.code_verifier },
  }))
  history.replaceState(null, '', '/')
}

// AppAuth-JS does not read the id_token: userinfo says who it is.
const userinfo = () => requestor.xhr({
  url: aip.userInfoEndpoint, method: 'GET', dataType: 'json', headers: { Authorization: `Bearer ${tokens.accessToken}` },
})

const notifier = new AuthorizationNotifier()
notifier.setAuthorizationListener(async (request, response, error) => {
  if (error) return show('refused', error.error)
  await redeem(request, response)
  const claims = await userinfo()
  window.app = { ...window.app, held: () => ({ tokens: tokens.toJson(), claims }) }
  show('signed-in', claims.sub)
})
handler.setAuthorizationNotifier(notifier)

window.app = {
  async refresh() {
    tokens = await tokenHandler.performTokenRequest(aip, new TokenRequest({
      grant_type: 'refresh_token', client_id: CLIENT_ID, redirect_uri: REDIRECT_URI, refresh_token: tokens.refreshToken,
    }))
  },
  async revoke() {
    const request = new RevokeTokenRequest({ token: tokens.refreshToken, token_type_hint: 'refresh_token', client_id: CLIENT_ID })
    await tokenHandler.performRevokeTokenRequest(aip, request)
  },
}

function show(id, text) {
  const main = document.createElement('main')
  main.id = id
  main.textContent = text
  document.body.append(main)
}

if (location.pathname === '/login') signIn()
else handler.completeAuthorizationRequestIfPossible().catch((error) => show('refused', String(error)))
