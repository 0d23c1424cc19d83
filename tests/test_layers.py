"""Who may import whom: the contracts of pyproject.toml, and one that they cannot say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]
NAMES_APPS = {"settings.py", "urls.py", "middleware.py", "views.py"}  # the site's own seams


def test_imports_point_downwards(capsys: pytest.CaptureFixture[str]) -> None:
    broken = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert broken == 0, capsys.readouterr().out


def test_the_site_names_apps_only_at_its_seams() -> None:
    names = {
        path.name
        for path in (ROOT / "platform" / "counterpoint").rglob("*.py")
        if re.search(r"^\s*(from|import) apps\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert names <= NAMES_APPS
