"""Which version of the product this is. Also in pyproject.toml and in the chart; a test compares."""

from __future__ import annotations

VERSION = "0.1.0"


def version() -> str:
    return VERSION
