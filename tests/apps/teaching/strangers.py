"""Objects of North for the walk of strangers."""

from __future__ import annotations

from apps.teaching.models import Plan
from tests.apps.registry.strangers import one

NAMES = ("plan", "events")
OBJECTS = {f"teaching:{name}": one(Plan) for name in NAMES}
