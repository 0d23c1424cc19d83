"""Objects of North for the walk of strangers."""

from __future__ import annotations

from apps.runs.models import Run
from tests.apps.registry.strangers import one

NAMES = ("run", "events", "metrics", "log", "stop", "discard", "pause", "go-on", "again")
NAMES += ("repeat", "branch")
OBJECTS = {f"runs:{name}": one(Run) for name in NAMES}
