"""Fingerprints of the keys that an installation uses: a wrong one is noticed before harm.

A wrong audit key would begin a chain that nobody can verify; a wrong site key opens no tenant's
data. So each start remembers what its keys look like, and the next one compares: at least one
must be known, which lets a new site key stand beside the old one. A fingerprint tells nothing of
its key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

from django.conf import settings

from calm_engine.errors import InputError

FILE = "key-fingerprints.json"
# SECRET_KEY is missing with intent: another one only signs people out.
NAMES = ("AUDIT_KEY", "SITE_KEY")
Prints = dict[str, list[str]]  # by setting; empty when Vault holds the key


def fingerprints() -> Prints:
    """Of the keys in use now."""
    return {
        name: [fingerprint(key) for key in str(getattr(settings, name)).replace(",", " ").split()]
        for name in NAMES
    }


def fingerprint(key: str) -> str:
    return hmac.new(key.encode(), b"counterpoint|fingerprint", hashlib.sha256).hexdigest()[:16]


def strange(before: Prints) -> list[str]:
    """The settings of which no key was known before."""
    now = fingerprints()
    return [name for name in NAMES if before.get(name) and not set(before[name]) & set(now[name])]


def compare() -> list[str]:
    """The settings whose keys are all others than at the last start; else today's are remembered.

    A home folder that cannot be written remembers nothing.
    """
    path = Path(settings.HOME) / FILE
    before = read(path)
    wrong = strange(before)
    now = fingerprints()
    if not wrong and now != before:
        aside = path.with_name(f".{FILE}")
        try:
            aside.write_text(json.dumps(now), encoding="utf-8")
            aside.rename(path)
        except OSError:
            return []
    return wrong


def read(path: Path) -> Prints:
    try:
        found: Prints = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def require_the_same(wanted: Prints) -> None:
    """Raises InputError("restore.keys") unless the keys here are those that a backup needs."""
    if wrong := strange(wanted):
        raise InputError(
            "restore.keys",
            f"{' and '.join(wrong)} is not the key of this backup. Give the keys that were kept "
            "beside it (docs/operate/backup.md), then restore.",
            settings=wrong,
        )
