#!/usr/bin/env python
"""The door for commands. Puts `platform/` on the path and hands over to Django."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> None:
    # After the root, never before the standard library: `platform` is also a module of Python.
    sys.path.insert(1, str(ROOT / "platform"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "counterpoint.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415  needs the path

    from calm_engine.errors import InputError  # noqa: PLC0415  as above

    try:
        execute_from_command_line(sys.argv)
    except InputError as error:
        # Such as a setting with a wrong value: whoever gave it can mend it, without our traceback.
        sys.exit(f"{error.code}: {error.message}")


if __name__ == "__main__":
    main()
