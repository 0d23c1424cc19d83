"""Reads SAML_FILE: at which identity provider each tenant signs in. Knows no SAML and no tenant."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from calm_engine.errors import InputError

NEEDED = {"entity_id", "sso_url", "certificates", "domains"}
NAMES = {"email", "full_name", "groups"}  # of attributes
OWN = {"own_key", "own_certificate"}
OPTIONAL = {"name", "slo_url", "slo_binding"} | NAMES | OWN
BINDINGS = ("redirect", "post")
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def refusal(text: str) -> InputError:
    return InputError("setting.value", f"SAML_FILE: {text}", setting="SAML_FILE")


def apps(place: str) -> list[dict[str, Any]]:
    """One entry per tenant, in the form that allauth keeps providers in; none without a file.

    Raises InputError("setting.value") that names the tenant and the key.
    """
    if not place:
        return []
    path = Path(place)
    try:
        told = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise refusal(f"{place} cannot be read.") from error
    except ValueError as error:
        raise refusal(f"{place} is no JSON.") from error
    if not isinstance(told, dict) or not all(isinstance(each, dict) for each in told.values()):
        raise refusal(f"{place} should be an object that holds one object per tenant.")
    return [app(tenant, entry, path.parent) for tenant, entry in told.items()]


def app(tenant: str, told: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What one tenant's entry says, checked."""
    if missing := sorted(NEEDED - told.keys()):
        raise refusal(f"{tenant} lacks {', '.join(missing)}.")
    if unknown := sorted(told.keys() - NEEDED - OPTIONAL):
        raise refusal(f"{tenant} has {', '.join(unknown)}, which nothing reads.")
    for name in ("certificates", "domains"):
        if not (isinstance(told[name], list) and told[name]):
            raise refusal(f"{tenant}: {name} should be a list with one entry or more.")
    for name in ("sso_url", "slo_url"):
        where = urlsplit(str(told.get(name) or "https://"))
        if where.scheme != "https" and where.hostname not in LOOPBACK:
            raise refusal(f"{tenant}: {name} should begin with https://.")
    if told.get("slo_url") and "own_key" not in told:
        raise refusal(f"{tenant}: slo_url needs own_key: what is said there is signed.")
    binding = str(told.get("slo_binding") or BINDINGS[0])
    if binding not in BINDINGS:
        raise refusal(f"{tenant}: slo_binding should be one of {', '.join(BINDINGS)}.")
    key, own = own_pair(tenant, folder, told)
    entity = str(told["entity_id"])
    return {
        # Whoever this provider names is bound to this tenant and to this provider, and no other.
        "provider_id": f"saml-{tenant}-{hashlib.sha256(entity.encode()).hexdigest()[:16]}",
        "client_id": tenant,
        "name": str(told.get("name") or tenant),
        "settings": {
            "entity_id": entity,
            "sso_url": str(told["sso_url"]),
            "certificates": [certificate(tenant, folder, name) for name in told["certificates"]],
            "domains": [str(each).lower().removeprefix("@") for each in told["domains"]],
            "attributes": {name: told[name] for name in NAMES if name in told},
            "slo_url": str(told.get("slo_url") or ""),
            "slo_binding": binding,
            "own_key": key,
            "own_certificate": own,
        },
    }


def own_pair(tenant: str, folder: Path, told: dict[str, Any]) -> tuple[str, str]:
    """Our key at this provider and its certificate, in PEM; both "" where there is none."""
    if OWN.isdisjoint(told):
        return "", ""
    if not told.keys() >= OWN:
        raise refusal(f"{tenant}: own_key and own_certificate go together.")
    own = certificate(tenant, folder, told["own_certificate"])
    try:
        text = (folder / str(told["own_key"])).read_text("ascii")
        key = load_pem_private_key(text.encode(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise refusal(f"{tenant}: own_key is no private key in PEM without a password.") from error
    if x509.load_pem_x509_certificate(own.encode()).public_key() != key.public_key():
        raise refusal(f"{tenant}: own_certificate is not that of own_key.")
    return text, own


def certificate(tenant: str, folder: Path, name: object) -> str:
    """The PEM text of a certificate beside the file."""
    try:
        text = (folder / str(name)).read_text("ascii")
        x509.load_pem_x509_certificate(text.encode())
    except (OSError, ValueError) as error:
        raise refusal(f"{tenant}: {name} is no certificate in PEM.") from error
    return text
