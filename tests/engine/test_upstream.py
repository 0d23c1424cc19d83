"""transformers' common tests of models pass on a composition; those left out stand in one table.

They run in a process of their own, since they bring markers, warnings and an import path with them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PASSED = 89  # when this was written; the others skip themselves for want of a GPU or a part
OURS = Path(__file__).with_name("upstream_common.py")


@pytest.mark.slow
def test_a_composition_passes_transformers_own_tests(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = ["-q", "--no-header", "-rs", "--tb=short", "-p", "no:randomly"]
    bare = ["--override-ini", "addopts=", "--override-ini", "filterwarnings="]
    call = [sys.executable, "-m", "pytest", str(OURS), *quiet, *bare]
    ran = subprocess.run(call, capture_output=True, text=True, check=False)
    with capsys.disabled():  # what skips itself, and why, belongs to the record of every run
        print(f"\n{ran.stdout[ran.stdout.rfind('short test summary') :]}")  # noqa: T201
    assert ran.returncode == 0, ran.stdout
    told = re.search(r"(\d+) passed", ran.stdout)
    assert told is not None
    assert int(told[1]) >= PASSED
