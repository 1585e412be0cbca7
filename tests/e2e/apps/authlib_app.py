"""An app that signs people in with the stock PyPI package Authlib (its Flask and requests clients).

Nothing in it knows AIP or the AT Protocol, but for the paths under /xrpc that it calls with its access
token. `authlib_app.mjs` starts it with its settings as JSON in APP_SETTINGS and drives it over HTTP.
"""

import json
import os
import secrets

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.flask_client import OAuth
from authlib.integrations.requests_client import OAuth2Session
from flask import Flask, jsonify, request, url_for

SETTINGS = json.loads(os.environ["APP_SETTINGS"])

app = Flask(__name__)
app.secret_key = secrets.token_hex()
app.config["SESSION_COOKIE_NAME"] = "authlib_app"  # cookies of 127.0.0.1 are shared by all its ports

aip = OAuth(app).register(
    name="aip",
    client_id=SETTINGS["client_id"],
    client_secret=SETTINGS["client_secret"],
    server_metadata_url=SETTINGS["issuer"] + "/.well-known/openid-configuration",
    client_kwargs={
        "scope": SETTINGS["scope"],
        "code_challenge_method": "S256",
        "token_endpoint_auth_method": "client_secret_basic",
    },
)

# One person at a time: the stories look at what the app holds.
held = {}


def session():
    return OAuth2Session(
        SETTINGS["client_id"],
        SETTINGS["client_secret"],
        token_endpoint_auth_method="client_secret_basic",
        token=held["token"],
    )


def page(mark, text):
    return f'<!doctype html><title>App</title><main id="{mark}">{text}</main>'


def answer(response):
    return jsonify(status=response.status_code, body=response.json())


@app.get("/login")
def login():
    return aip.authorize_redirect(url_for("callback", _external=True))


@app.get("/callback")
def callback():
    try:
        # Checks state and code verifier, and signature, issuer, audience and nonce of the id_token.
        token = aip.authorize_access_token()
    except OAuthError as error:
        return page("refused", error.error)
    held.update(token=token, claims=token["userinfo"])
    return page("signed-in", token["userinfo"]["sub"])


@app.get("/held")
def show_held():
    return jsonify(held)


@app.get("/userinfo")
def userinfo():
    return answer(session().get(aip.load_server_metadata()["userinfo_endpoint"]))


@app.post("/xrpc")
def xrpc():
    call = request.get_json()
    url = f"{SETTINGS['issuer']}/xrpc/{call['nsid']}"
    return answer(session().request(call["method"], url, params=call["query"], json=call.get("json")))


@app.post("/refresh")
def refresh():
    endpoint = aip.load_server_metadata()["token_endpoint"]
    try:
        # Returns the whole new token; the one that it held stays in it where the answer has no newer.
        held["token"] = session().refresh_token(endpoint, refresh_token=held["token"]["refresh_token"])
    except OAuthError as error:
        return jsonify(error=error.error, description=error.description)
    return jsonify({})


@app.post("/revoke")
def revoke():
    endpoint = aip.load_server_metadata()["revocation_endpoint"]
    response = session().revoke_token(endpoint, held["token"]["refresh_token"], "refresh_token")
    return jsonify(status=response.status_code)


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=SETTINGS["port"])
