"""OpenID Connect, stricter than allauth is by itself: what is asked, and what is believed.

allauth takes an identity token that came straight from the provider without looking at its
signature, and asks for no nonce. Here every token is verified by the provider's published keys,
with a public-key algorithm and no other, and belongs to the question that this browser asked
(OpenID Connect Core 3.1.3.7; what the provider says when asked is about the same subject, 5.3.2).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import jwt
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest

# Public keys alone: a published key must never do as a shared secret, nor nothing as a signature.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
NEEDED = ["iss", "sub", "aud", "exp", "iat", "nonce"]
PLACES = {"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"}
DRIFT = 60  # seconds by which clocks may differ


def nonce_of(verifier: str) -> str:
    """What the token has to repeat: only the browser's session knows what it is made from."""
    return hashlib.sha256(f"nonce {verifier}".encode()).hexdigest()


class OidcAdapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # allauth is untyped
    """Fetches the provider's answer and believes what can be verified."""

    nonce = ""

    @property
    def openid_config(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = super().openid_config
        except (AttributeError, ValueError) as error:
            raise OAuth2Error("the provider describes itself in no shape") from error
        if missing := PLACES - found.keys():
            raise OAuth2Error(f"the provider does not say its {', '.join(sorted(missing))}")
        base = self.get_provider().server_url.partition("/.well-known/")[0]
        if str(found.get("issuer")).rstrip("/") != base.rstrip("/"):
            raise OAuth2Error("the provider says that it is another")
        return found

    def get_access_token_data(
        self, request: HttpRequest, app: Any, client: Any, pkce_code_verifier: str = ""
    ) -> Any:
        self.nonce = nonce_of(pkce_code_verifier)
        return super().get_access_token_data(request, app, client, pkce_code_verifier)

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **named: Any) -> Any:
        """Who it is. Raises OAuth2Error for a token that is not believed."""
        claims = self.believed(app, str(named["response"].get("id_token") or ""))
        told = self._fetch_user_info(token.token)
        if told.get("sub") != claims["sub"]:
            raise OAuth2Error("the provider speaks of two people")
        data = {"userinfo": told, "id_token": claims}
        return self.get_provider().sociallogin_from_response(request, data)

    def believed(self, app: Any, token: str) -> dict[str, Any]:
        """The claims of a token that is the provider's, for us, now, and to this question."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.key_of(token),
                algorithms=ALGORITHMS,
                issuer=self.openid_config["issuer"],
                audience=app.client_id,
                leeway=DRIFT,
                options={"require": NEEDED},
            )
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise OAuth2Error(f"{type(error).__name__}: {error}") from error
        if not hmac.compare_digest(str(claims["nonce"]), self.nonce):
            raise OAuth2Error("the token answers another question")
        if claims.get("azp", app.client_id) != app.client_id:
            raise OAuth2Error("the token was made for another site")
        return claims

    def key_of(self, token: str) -> Any:
        """The published key that the token names. Raises jwt.PyJWTError when there is none."""
        with get_adapter().get_requests_session() as session:
            answer = session.get(self.openid_config["jwks_uri"])
            answer.raise_for_status()
        named = jwt.get_unverified_header(token).get("kid")
        keys = [
            key
            for key in jwt.PyJWKSet.from_dict(answer.json()).keys
            if key.key_type != "oct" and key.public_key_use in (None, "sig")
        ]
        fitting = [key for key in keys if key.key_id == named] if named else keys
        if len(fitting) != 1:
            raise jwt.InvalidKeyError("no published key fits")
        return fitting[0]


class OidcProvider(OpenIDConnectProvider):  # type: ignore[misc]  # allauth is untyped
    """The organisation's own provider; what a link says changes nothing but where one arrives."""

    oauth2_adapter_class = OidcAdapter
    pkce_enabled_default = True

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        asked: dict[str, Any] = super().get_redirect_from_request_kwargs(request)
        next_page = {"next_url": asked["next_url"]} if "next_url" in asked else {}
        return {"process": "login", **next_page}

    def get_pkce_params(self) -> dict[str, str]:
        made: dict[str, str] = super().get_pkce_params()
        return made | {"nonce": nonce_of(made["code_verifier"])}


def login(request: HttpRequest, provider_id: str) -> Any:
    return OAuth2LoginView.adapter_view(OidcAdapter(request, provider_id))(request)


def callback(request: HttpRequest, provider_id: str) -> Any:
    return OAuth2CallbackView.adapter_view(OidcAdapter(request, provider_id))(request)
