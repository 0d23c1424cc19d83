"""Renders the chart with each set of values of `ci/`: `python -m tests.deploy.render FOLDER`.

For programs that read objects from files.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.deploy.helm import CHART, template


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for values in sorted((CHART / "ci").glob("*.yaml")):
        told = template(f"ci/{values.name}")
        if told.code != 0:
            sys.stderr.write(told.err)
            return 1
        (folder / values.name).write_text(told.out, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
