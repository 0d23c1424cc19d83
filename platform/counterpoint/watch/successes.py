"""When a backup, or the proof of one, last ended well: a small file for each in the home folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

FOLDER = "last-success"


def remember(home: Path, name: str, backup: str, seconds: float) -> None:
    """Leave behind that it ended well now, and how long it took."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    told = {"at": int(time.time()), "backup": backup, "seconds": round(seconds, 1)}
    aside = folder / f".{name}"
    aside.write_text(json.dumps(told), encoding="utf-8")
    aside.rename(folder / f"{name}.json")


def last(home: Path, name: str) -> dict[str, Any]:
    """What was left behind; empty when it never ended well. `name`: "backup" or "verify"."""
    try:
        found = json.loads((home / FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
