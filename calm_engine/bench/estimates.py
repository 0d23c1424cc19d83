"""Whether an estimate is what then happens: a training of each kind, reckoned, then done."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calm_engine.figures import Figure
from calm_engine.specs import AugmentSpec, ComposeSpec, TrainSpec

NEAR = 0.25


def measure(augment: AugmentSpec, compose: ComposeSpec, scratch: Path) -> Iterator[Figure]:
    """Seconds, memory and disk of an augmenter's training and of a composition's."""
    for verb, spec in (("augment", augment), ("compose", compose)):
        told, found = _estimated(verb, spec, scratch), _done(verb, spec, scratch)
        for what in ("seconds", "memory_bytes", "disk_bytes"):
            share = told[what] / found[what]
            off = max(share, 1 / share) - 1
            against = f"what {verb} then took ({found[what]:.3g})"
            yield Figure(f"estimate.{verb}.{what}", off, "apart", against, NEAR)


def _estimated(verb: str, spec: TrainSpec, scratch: Path) -> dict[str, Any]:
    """As an engineer asks for it, in a process of its own."""
    path = _written(spec, scratch)
    command = ["-m", "calm_engine.cli", "estimate", verb, "--spec", str(path), "--json"]
    told: dict[str, Any] = json.loads(_run(command))
    return told


def _done(verb: str, spec: TrainSpec, scratch: Path) -> dict[str, float]:
    """The same training carried out, watched from outside."""
    path = _written(spec, scratch)
    began = time.monotonic()
    told = _run(["-c", _WATCHED, verb, str(path)])
    seconds = time.monotonic() - began
    memory, disk = map(int, told.split()[-2:])
    return {"seconds": seconds, "memory_bytes": memory, "disk_bytes": disk}


# Runs a verb in this process and prints its largest memory and the most disk it held at any news.
_WATCHED = """
import resource, sys
from pathlib import Path
from calm_engine import api
from calm_engine.specs import AugmentSpec, ComposeSpec
verb, path = sys.argv[1:]
spec = (AugmentSpec if verb == "augment" else ComposeSpec).from_file(path)
folders = (Path(spec.output), Path(spec.output + ".work"))
most = 0
def held():
    return sum(f.stat().st_size for d in folders for f in d.rglob("*") if f.is_file())
for _ in getattr(api, verb)(spec):
    most = max(most, held())
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, max(most, held()))
"""


def _written(spec: TrainSpec, scratch: Path) -> Path:
    path = scratch / "spec.json"
    path.write_text(spec.to_json(), encoding="utf-8")
    return path


def _run(command: list[str]) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)  # noqa: S603 ourselves
    return done.stdout
