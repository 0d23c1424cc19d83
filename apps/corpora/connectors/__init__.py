"""Places outside from which a corpus can be kept up to date: the seam, and what IT named.

A kind of place is a class with `files` and `read`, and a line in KINDS. Nobody but IT names a
place, in the file that SOURCES_FILE points at: no path and no secret ever comes from a page. Knows
no row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from apps.corpora.connectors.folder import Folder
from apps.corpora.connectors.found import Found
from apps.corpora.connectors.s3 import Bucket
from calm_engine.errors import InputError

__all__ = ["KINDS", "Found", "Named", "Place", "named", "place"]


class Place(Protocol):
    """Where files lie. Raises InputError("source.unreachable") from either when it is away."""

    def files(self) -> Iterator[Found]:
        """Every file there is, in any order."""
        ...

    def read(self, found: Found) -> Iterator[bytes]:
        """The bytes of one file, a piece at a time."""
        ...


KINDS: dict[str, Callable[..., Place]] = {"folder": Folder, "s3": Bucket}


@dataclass(frozen=True)
class Named:
    """One place that IT named, and the tenants that may use it, by their slugs."""

    name: str
    kind: str
    tenants: tuple[str, ...]
    options: dict[str, Any]


def named(tenant: str) -> list[Named]:
    """The places that IT named for the tenant of this slug, by name.

    Raises InputError("source.settings") when the file cannot be understood.
    """
    return [each for each in _every() if tenant in each.tenants]


def place(name: str, tenant: str) -> Place:
    """The place of this name. Raises InputError: "source.gone", "source.settings"."""
    chosen = next((each for each in named(tenant) if each.name == name), None)
    if chosen is None:
        raise InputError("source.gone", name=name)
    try:
        return KINDS[chosen.kind](**chosen.options)
    except (KeyError, TypeError) as error:
        raise InputError("source.settings", name=name, why=str(error)) from error


def _every() -> list[Named]:
    file: str = settings.SOURCES_FILE
    if not file:
        return []
    try:
        told = json.loads(Path(file).read_text(encoding="utf-8"))
        return [_named(name, dict(told[name])) for name in sorted(told)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("source.settings", name=file, why=type(error).__name__) from error


def _named(name: str, options: dict[str, Any]) -> Named:
    kind, tenants = options.pop("kind"), tuple(options.pop("tenants"))
    return Named(name, kind, tenants, options)
