"""What is installed here and under which licence, for whoever answers for it.

Asks the environment's own metadata and nobody else. As a table, or as a bill of materials
(CycloneDX 1.6, ECMA-424). Knows no file of the site.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from importlib import metadata
from typing import cast

# Licences that would bind the product as a whole; libraries under the LGPL do not.
BINDING = re.compile(
    r"(?<!L)(?<!Lesser )\b(A?GPL|(Affero )?General Public Licen[cs]e)", re.IGNORECASE
)
NAMED = re.compile(r"^License :: (?:OSI Approved :: )?(.+)$")
LONGEST = 80  # characters: some packages put the whole text where its name belongs


@dataclass(frozen=True)
class Package:
    """One installed distribution; `licence` is empty when it says none."""

    name: str
    version: str
    licence: str

    @property
    def is_binding(self) -> bool:
        """Whether no part of its choice leaves the product free."""
        choices = re.split(r"\bOR\b|;", self.licence)
        return bool(self.licence) and all(BINDING.search(each) for each in choices)


def packages() -> list[Package]:
    """Every distribution of this environment once, by name."""
    found = {}
    for each in metadata.distributions():
        name = each.metadata["Name"]
        if name:
            found[name.lower()] = Package(
                name, each.version, licence_of(cast(Message, each.metadata))
            )
    return [found[name] for name in sorted(found)]


def licence_of(told: Message) -> str:
    """As the package says it: an expression (PEP 639), its classifiers, or its own words."""
    if expression := told.get("License-Expression"):
        return str(expression)
    matches = (NAMED.match(str(line)) for line in told.get_all("Classifier", []))
    named = [match[1] for match in matches if match and match[1] != "OSI Approved"]
    words = str(told.get("License") or "").strip().partition("\n")[0]
    return "; ".join(named) or (words if words.upper() != "UNKNOWN" else "")[:LONGEST]


def table(found: Iterable[Package]) -> str:
    return "\n".join(f"{p.name:<36}{p.version:<18}{p.licence or 'not stated'}" for p in found)


def bill(found: Iterable[Package]) -> str:
    """A CycloneDX document."""
    components = [
        {
            "type": "library",
            "name": each.name,
            "version": each.version,
            "purl": f"pkg:pypi/{re.sub(r'[-_.]+', '-', each.name).lower()}@{each.version}",
            "licenses": [{"license": {"name": each.licence}}] if each.licence else [],
        }
        for each in found
    ]
    told = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    return json.dumps(told, indent=1)
