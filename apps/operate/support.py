"""`counterpoint support`: one archive for whoever helps, nothing in it that is the company's.

By choice of what goes in, not by search for what must not: findings of the doctor, names of
settings and whether they are set, figures, and of the logs only known fields of our own lines. A
line that is not ours is counted and left out: it might quote a document.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connection
from prometheus_client import CollectorRegistry, generate_latest

from apps.operate.state import State
from calm_engine.errors import InputError
from counterpoint import env
from counterpoint.log import KEYS
from counterpoint.operate import doctor
from counterpoint.release import version
from counterpoint.watch import schema

LOGS = ("web", "short", "gpu", "beat", "host")
LINES = 5000  # of each log, the last
# Of a line of ours: moments, names that we chose, ids and numbers. Texts stay out.
FIELDS = {"timestamp", "level", "logger", "event", "tenant", "run", "user", "task", "queue", "code"}
FIELDS |= {"epoch", "count", "composition", "request_id", "again_in", "topic"}
CHOSEN = re.compile(r"[\w.:@/+ -]{1,120}\Z")
OURS = re.compile(r"[a-z_]+(\.[a-z_]+)+\Z")  # an event that we named: "run.reaped"
SETTINGS = ("LOG_LEVEL", "LOG_FORMAT", "TIME_ZONE", "RUN_LAUNCHER", "DATABASE_TLS", "METRICS_PORT")


def bundle(home: Path, to: Path) -> list[str]:
    """Write the archive; the names of what is in it. Raises InputError("support.exists")."""
    if to.exists():
        raise InputError("support.exists", f"{to} is there already. Name another file.")
    parts = {
        "doctor.json": lines(asdict(each) for each in doctor.examine()),
        "release.json": text(about()),
        "settings.json": text(told_settings()),
        "figures.txt": figures(),
    }
    for name in LOGS:
        parts[f"logs/{name}.jsonl"] = lines(log_lines(home / "logs" / f"{name}.log"))
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("xb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(f"counterpoint-support/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))
    to.chmod(0o600)
    return list(parts)


def about() -> dict[str, Any]:
    """Versions of the product and what it is built on, and the state of its database."""
    try:
        fit: Any = asdict(schema.compare(connection))
    except DatabaseError as error:
        fit = type(error).__name__
    packages = {each.name: each.version for each in metadata.distributions()}
    return {"release": version(), "migrations": fit, "packages": dict(sorted(packages.items()))}


def told_settings() -> dict[str, str]:
    """Which variables of ours are set; the value of those alone that can hold no secret."""
    known = re.compile(r"^(COUNTERPOINT|RUN|DATABASE|REDIS|UPLOAD|DISK|LOG|METRICS|WORKER|HF)_")
    found = {name: "set" for name in os.environ if known.match(name)}
    return found | {name: env.text(name, "default") for name in SETTINGS}


def figures() -> bytes:
    registry = CollectorRegistry()
    registry.register(State())
    return generate_latest(registry)


def log_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The last lines that are ours, known fields alone; and how many were left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        last = file.readlines()[-LINES:]
    left_out = 0
    for line in last:
        found = kept(line)
        if found is None:
            left_out += 1
        else:
            yield found
    yield {"event": "support.left_out", "count": left_out}


def kept(line: str) -> dict[str, Any] | None:
    """What may be told of this line; None when nobody of ours wrote it."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    if not isinstance(told, dict) or not OURS.match(str(told.get("event", ""))):
        return None
    return {name: safe(value) for name, value in told.items() if name in FIELDS}


def safe(value: Any) -> Any:
    if isinstance(value, int | float) or value is None:
        return value
    return KEYS.sub("[hidden]", value) if CHOSEN.match(str(value)) else "[hidden]"


def lines(found: Any) -> bytes:
    return "".join(f"{json.dumps(each)}\n" for each in found).encode()


def text(found: dict[str, Any]) -> bytes:
    return json.dumps(found, indent=1).encode()
