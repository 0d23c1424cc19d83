"""The providers of this site, in allauth's shape; found by allauth under this module's name.

Ours replaces its OpenID Connect provider, and its SAML provider is not installed: both believe more
of an answer than apps.accounts.oidc and apps.accounts.saml do.
"""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.providers.base import Provider, ProviderAccount
from django.http import HttpRequest
from django.urls import reverse

from apps.accounts.oidc import OidcProvider
from apps.accounts.saml import Said


class SamlAccount(ProviderAccount):  # type: ignore[misc]  # allauth is untyped
    """Somebody at a tenant's provider."""


class SamlProvider(Provider):  # type: ignore[misc]  # allauth is untyped
    """What an answer says, in allauth's words."""

    id = "saml"
    name = "SAML"
    account_class = SamlAccount

    def get_login_url(self, _request: HttpRequest, **_named: Any) -> str:
        return reverse("saml_login", args=[self.app.client_id])

    def extract_uid(self, said: Said) -> str:
        return said.subject

    def extract_common_fields(self, said: Said) -> dict[str, Any]:
        return {"email": said.email, "email_verified": self.speaks_for(said.email)}

    def extract_extra_data(self, said: Said) -> dict[str, Any]:
        """In the words of OpenID Connect, which everything after this reads."""
        return {
            "email": said.email,
            "email_verified": self.speaks_for(said.email),
            "name": said.name,
            "groups": said.groups,
        }

    def speaks_for(self, email: str) -> bool:
        """Whether the address is in a domain of this tenant: of others it proves nothing."""
        return email.rpartition("@")[2].lower() in self.app.settings["domains"]


provider_classes = [OidcProvider, SamlProvider]
