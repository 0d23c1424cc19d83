"""`make soak` in small: two minutes at capacity, people leaving, model server and host killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings

ENGINES = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "COUNTERPOINT_HOME")


@pytest.mark.slow
def test_two_minutes_at_capacity_lose_and_double_no_word() -> None:
    words = ["-m", "counterpoint.services", "--fresh", "--then", "soak --minutes 2"]
    done = subprocess.run(
        [sys.executable, *words],
        env={name: value for name, value in os.environ.items() if name not in ENGINES},
        cwd=settings.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    told: dict[str, Any] = {one["name"]: one["value"] for one in map(json.loads, lines)}
    assert done.returncode == 0, done.stdout + done.stderr
    assert told["soak.answered"] > 0
    assert told["soak.refused"] > 0
    assert told["soak.killed_model"] >= 1
    assert told["soak.killed_host"] >= 1
    assert (told["soak.wrong"], told["soak.broken"], told["soak.refused_mute"]) == (0, 0, 0)
