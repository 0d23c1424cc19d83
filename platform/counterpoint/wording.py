"""What `calm_engine.wording` says, in the language of whoever reads."""

from __future__ import annotations

import re
from functools import partial
from types import ModuleType

from django.utils.translation import get_language

from calm_engine import wording
from calm_engine.errors import EngineError
from counterpoint import german

OURS = {"ending", "found", "limit", "why"}  # facts that may be words of ours; names never are
TABLES: dict[str, ModuleType] = {"de": german}  # beside English, which is the engine's own


def sentence(error: EngineError) -> str:
    """As `calm_engine.wording.sentence`; in English where this thread's language has no table."""
    table = TABLES.get((get_language() or "").partition("-")[0])
    if table is None:
        return wording.sentence(error)
    return wording.sentence(error, wording=table.WORDING, fact=partial(_fact, table.FACTS))


def _fact(known: dict[str, str], name: str, told: str) -> str:
    """One fact, where it is words of ours; its numbers stay."""
    if name not in OURS:
        return told
    numbers = re.findall(r"\d+", told)
    form = known.get(re.sub(r"\d+", "#", told))
    return told if form is None else form.replace("#", "{}").format(*numbers)
