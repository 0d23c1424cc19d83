"""Which version of the product this is; pyproject.toml and the chart say the same."""

from __future__ import annotations

VERSION = "0.1.0"


def version() -> str:
    return VERSION
