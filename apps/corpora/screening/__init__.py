"""Finds personal data and secrets in a text, by patterns and check digits. Pure; decides nothing.

Detectors only point: people or a corpus's policy decide. Nothing found is ever written to a log.
"""

from __future__ import annotations

from apps.corpora.screening.finding import Finding, Group, Kind, found, redacted

__all__ = ["Finding", "Group", "Kind", "found", "redacted"]
