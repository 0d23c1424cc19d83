"""Where the machine's Chromium is: named by CHROMIUM, under its usual names, or Playwright's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "No browser: install chromium, or set CHROMIUM=/path/to/it, and run again."
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def chromium() -> str:
    """Its path, or nothing where there is none."""
    if named := os.environ.get("CHROMIUM"):
        return named
    for name in NAMES:
        if found := shutil.which(name):
            return found
    kept = Path.home() / ".cache" / "ms-playwright"
    return next(map(str, sorted(kept.glob("chromium-*/chrome-linux*/chrome"))), "")
