// An app that signs people in with the stock Go modules golang.org/x/oauth2 and coreos/go-oidc. The
// stories start it with its settings as JSON in APP_SETTINGS and drive it over HTTP.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// One person at a time: the stories look at what the app holds.
type app struct {
	config             oauth2.Config
	provider           *oidc.Provider
	issuer             string
	revocationEndpoint string
	pending            struct{ state, nonce, verifier string }
	token              *oauth2.Token
	claims             map[string]any
}

func main() {
	var settings struct {
		Port                                       int
		AIP_URL, CLIENT_ID, CLIENT_SECRET, APP_URL string
		SCOPE                                      []string
	}
	must(json.Unmarshal([]byte(os.Getenv("APP_SETTINGS")), &settings))
	AIP_URL, CLIENT_ID, CLIENT_SECRET := settings.AIP_URL, settings.CLIENT_ID, settings.CLIENT_SECRET
	redirectURI, scopes := settings.APP_URL+"/callback", settings.SCOPE
	ctx := context.Background()

	provider, err := oidc.NewProvider(ctx, AIP_URL)
	must(err)
	config := oauth2.Config{
		ClientID:     CLIENT_ID,
		ClientSecret: CLIENT_SECRET,
		Endpoint:     provider.Endpoint(),
		RedirectURL:  redirectURI,
		Scopes:       scopes,
	}

	app := &app{config: config, provider: provider, issuer: AIP_URL}
	var metadata struct {
		RevocationEndpoint string `json:"revocation_endpoint"`
	}
	must(provider.Claims(&metadata))
	app.revocationEndpoint = metadata.RevocationEndpoint
	http.HandleFunc("/login", app.login)
	http.HandleFunc("/callback", app.callback)
	http.HandleFunc("/held", app.held)
	http.HandleFunc("/userinfo", app.userinfo)
	http.HandleFunc("/xrpc", app.xrpc)
	http.HandleFunc("/refresh", app.refresh)
	http.HandleFunc("/revoke", app.revoke)
	must(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", settings.Port), nil))
}

func (app *app) login(w http.ResponseWriter, r *http.Request) {
	config := app.config
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	app.pending.state, app.pending.nonce, app.pending.verifier = state, nonce, verifier
	location := config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))
	http.Redirect(w, r, location, http.StatusFound)
}

func (app *app) callback(w http.ResponseWriter, r *http.Request) {
	claims, err := app.redeem(r.Context(), r.URL.Query())
	if err != nil {
		page(w, "refused", err.Error())
		return
	}
	app.claims = claims
	page(w, "signed-in", claims["sub"].(string))
}

func (app *app) redeem(ctx context.Context, query url.Values) (map[string]any, error) {
	if query.Get("state") != app.pending.state {
		return nil, errors.New("this is no answer to our request")
	}
	if refused := query.Get("error"); refused != "" {
		return nil, errors.New(refused)
	}
	provider, config, verifier := app.provider, app.config, app.pending.verifier
	token, err := config.Exchange(ctx, query.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, err
	}
	rawIDToken, _ := token.Extra("id_token").(string)
	idToken, err := provider.Verifier(&oidc.Config{ClientID: config.ClientID}).Verify(ctx, rawIDToken)
	if err != nil {
		return nil, err
	}
	if idToken.Nonce != app.pending.nonce {
		return nil, errors.New("the id_token is for another sign-in")
	}
	if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
		return nil, err
	}
	app.token = token
	claims := map[string]any{}
	return claims, idToken.Claims(&claims)
}

func (app *app) held(w http.ResponseWriter, _ *http.Request) {
	held := map[string]any{"claims": app.claims}
	if app.token != nil {
		held["token"] = map[string]any{
			"access_token":  app.token.AccessToken,
			"refresh_token": app.token.RefreshToken,
			"id_token":      app.token.Extra("id_token"),
			"scope":         app.token.Extra("scope"),
		}
	}
	answer(w, held)
}

func (app *app) userinfo(w http.ResponseWriter, r *http.Request) {
	app.fetch(w, r, http.MethodGet, app.provider.UserInfoEndpoint(), nil)
}

func (app *app) xrpc(w http.ResponseWriter, r *http.Request) {
	var call struct {
		Method, NSID string
		Query        map[string]string
		JSON         json.RawMessage
	}
	must(json.NewDecoder(r.Body).Decode(&call))
	query := url.Values{}
	for name, value := range call.Query {
		query.Set(name, value)
	}
	app.fetch(w, r, call.Method, app.issuer+"/xrpc/"+call.NSID+"?"+query.Encode(), call.JSON)
}

// fetch calls with the token that the app holds, and says what came.
func (app *app) fetch(w http.ResponseWriter, r *http.Request, method, url string, body []byte) {
	request, err := http.NewRequestWithContext(r.Context(), method, url, bytes.NewReader(body))
	must(err)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := oauth2.NewClient(r.Context(), oauth2.StaticTokenSource(app.token)).Do(request)
	must(err)
	defer response.Body.Close()
	var content json.RawMessage
	must(json.NewDecoder(response.Body).Decode(&content))
	answer(w, map[string]any{"status": response.StatusCode, "body": content})
}

func (app *app) refresh(w http.ResponseWriter, r *http.Request) {
	spent := &oauth2.Token{RefreshToken: app.token.RefreshToken}
	token, err := app.config.TokenSource(r.Context(), spent).Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		answer(w, map[string]any{"error": refused.ErrorCode, "description": refused.ErrorDescription})
		return
	}
	must(err)
	app.token = token
	answer(w, map[string]any{})
}

// Neither module has anything for RFC 7009.
func (app *app) revoke(w http.ResponseWriter, r *http.Request) {
	form := url.Values{"token": {app.token.RefreshToken}, "token_type_hint": {"refresh_token"},
		"client_id": {app.config.ClientID}, "client_secret": {app.config.ClientSecret}}
	response, err := http.PostForm(app.revocationEndpoint, form)
	must(err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	must(err)
	answer(w, map[string]any{"status": response.StatusCode})
}

func page(w http.ResponseWriter, mark, text string) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, `<!doctype html><title>App</title><main id=%q>%s</main>`, mark, text)
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	must(json.NewEncoder(w).Encode(body))
}

// must ends a request with 500, or the program before it listens: the story fails with the log.
func must(err error) {
	if err != nil {
		log.Panic(err)
	}
}
