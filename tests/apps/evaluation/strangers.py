"""Objects of North for the walk of strangers."""

from __future__ import annotations

from apps.evaluation.models import Report
from tests.apps.registry.strangers import one

NAMES = ("report", "items", "download", "card", "promote")
OBJECTS = {f"evaluation:{name}": one(Report) for name in NAMES}
