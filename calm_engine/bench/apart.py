"""A part of the bench in a process of its own: what it takes is then its own alone.

Knows no model and no clock.
"""

from __future__ import annotations

import json
import subprocess
import sys


def in_a_process(module: str, *words: object) -> dict[str, float]:
    """Run a module with these words; its last line is one JSON object of figures.

    Raises subprocess.CalledProcessError when it fails.
    """
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 ourselves
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told
