"""Signed marks of where each chain stood: proof against whoever could rewrite log, head and seal.

An anchor is one line of JSON for a printer, a locked bucket or another department. Signed with
Ed25519 (RFC 8032): whoever has the public key can check it, and need not be trusted with a secret.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.utils import timezone

from apps.audit.models import AuditEvent
from counterpoint.sitekeys import key_of


def signing_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(key_of(settings.ANCHOR_KEY))


def public_key() -> str:
    raw = signing_key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(raw).decode()


def anchor() -> str:
    """Where the log of the tenant in scope stands now, signed, as one line; "" when it is empty."""
    last = AuditEvent.objects.order_by("-sequence").first()
    if last is None:
        return ""
    told = {
        "tenant": str(last.tenant_id),
        "sequence": last.sequence,
        "digest": last.digest,
        "at": timezone.now().isoformat(timespec="seconds"),
        "key": public_key(),
    }
    signed = base64.b64encode(signing_key().sign(canonical(told))).decode()
    return json.dumps(told | {"signature": signed}, sort_keys=True)


def canonical(told: dict[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def faults_against(text: str) -> Iterator[str]:
    """What these anchors say against the log of the tenant in scope; nothing when all agree."""
    digests = dict(AuditEvent.objects.values_list("sequence", "digest"))
    tenant = str(next(iter(AuditEvent.objects.values_list("tenant_id", flat=True)[:1]), ""))
    for number, line in enumerate(filter(str.strip, text.splitlines()), 1):
        try:
            told = json.loads(line)
            signed = base64.b64decode(told.pop("signature"))
            signing_key().public_key().verify(signed, canonical(told))
        except (ValueError, KeyError, AttributeError, TypeError, InvalidSignature):
            yield f"Anchor {number} was not signed by this installation, or was changed."
            continue
        if told["tenant"] == tenant and digests.get(told["sequence"]) != told["digest"]:
            yield f"Line {told['sequence']} is not the one that was anchored on {told['at']}."
