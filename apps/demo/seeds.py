"""The report cards of several seeds side by side: each figure by seed, its mean, and its bar.

`python -m apps.demo.seeds FOLDER 1 2 3` prints what `demo_check --keep FOLDER` wrote, and ends
with 1 where a seed misses a bar or is not there. Knows no database.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

Figures = Mapping[str, float]


def kept_in(folder: Path, seed: int) -> Path:
    """Where the figures of a seed lie; its card lies beside them."""
    return folder / f"seed-{seed}.json"


def read(folder: Path) -> list[tuple[Figures, list[str]]]:
    """By seed what was measured, and which bars were missed, in words."""
    rows = [json.loads(path.read_text("utf-8")) for path in folder.glob("seed-*.json")]
    rows.sort(key=lambda row: row["figures"]["seed"])
    return [(row["figures"], row["missed"]) for row in rows]


def table(every: Sequence[Figures]) -> str:
    """A row for each figure: its name, each seed's, and their mean; a dash where none was made."""
    names = dict.fromkeys(name for figures in every for name in figures if name != "seed")
    header = ["figure", *(f"seed {figures['seed']:.0f}" for figures in every), "mean"]
    lines = [header, ["---"] * len(header)]
    for name in names:
        found = [figures[name] for figures in every if name in figures]
        each = [f"{figures[name]:g}" if name in figures else "-" for figures in every]
        lines.append([name, *each, f"{sum(found) / len(found):.3g}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(folder: Path, wanted: Sequence[int]) -> int:
    told = read(folder)
    lacking = sorted(set(wanted) - {int(figures["seed"]) for figures, _ in told})
    if not told:
        sys.stderr.write(f"No seed was measured in {folder}.\n")
        return 1
    sys.stdout.write(f"{table([figures for figures, _ in told])}\n")
    for figures, missed in told:
        for words in missed:
            sys.stdout.write(f"missed by seed {figures['seed']:.0f}: {words}\n")
        sys.stdout.write(f"{json.dumps(figures)}\n")
    for seed in lacking:
        sys.stdout.write(f"seed {seed} did not come to its end\n")
    return int(bool(lacking) or any(missed for _, missed in told))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]]))
