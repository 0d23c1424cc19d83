"""`platform/` is a source root and nobody's module, and the web process stays light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "accelerate", "numpy", "kreuzberg")


def run(script: str, *roots: Path) -> str:
    """What a fresh interpreter says, with these folders first on its path."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(str(root) for root in roots)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_standard_platform_module_wins() -> None:
    script = "import platform, uuid; print(platform.__file__); uuid.uuid1()"
    assert Path(run(script, ROOT, ROOT / "platform")).parent == Path(os.__file__).parent


def test_no_python_file_lies_directly_in_platform() -> None:
    assert list((ROOT / "platform").glob("*.py")) == []


def test_the_web_process_loads_no_torch() -> None:
    script = (
        "import sys, counterpoint.asgi\n"
        "from django.urls import get_resolver\n"
        "get_resolver().url_patterns\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert run(script, ROOT, ROOT / "platform") == "[]"


def test_migrations_say_what_the_models_say(db: None) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
