"""Which version of the product this is. The one place that asks."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """The installed version; "unknown" in a checkout that was never installed."""
    try:
        return metadata.version("counterpoint")
    except metadata.PackageNotFoundError:
        return "unknown"
