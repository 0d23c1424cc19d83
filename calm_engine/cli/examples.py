"""calm examples: questions with answers from what documents state, shared out and held out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from calm_engine.cli.flags import HELP, add_verb, natural

SEEN = 60  # of those that train the bridges, asked again in a report


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_verb(
        verbs,
        "examples",
        _examples,
        told="write questions with their answers from the facts that documents state",
        example="calm examples --documents corpus.jsonl --output examples",
    )
    parser.add_argument("--documents", required=True, help=HELP["documents"])
    told = "folder: bridge_examples.jsonl and held_out.jsonl"
    parser.add_argument("--output", required=True, metavar="FOLDER", help=told)
    parser.add_argument("--seed", type=natural, default=0, help="of what is drawn and held out")
    told = "questions about nobody for each entity, answered with a refusal; default 0"
    parser.add_argument("--unanswerable", type=float, default=0.0, metavar="SHARE", help=told)


def _examples(args: argparse.Namespace) -> None:
    from calm_engine.checkpoints import whole  # noqa: PLC0415 loads torch
    from calm_engine.data import read_documents  # noqa: PLC0415 loads torch
    from calm_engine.errors import InputError  # noqa: PLC0415
    from calm_engine.selfstudy.tasks import tasks_of  # noqa: PLC0415
    from calm_engine.split import split_examples  # noqa: PLC0415

    output = Path(args.output)
    if output.exists():
        raise InputError("output.exists", "something is in the output folder", path=output.name)
    documents = read_documents(args.documents)
    told = tasks_of(documents, seed=args.seed, unanswerable=args.unanswerable)
    if not told.rows:
        raise InputError("examples.nothing", "no fact was found", path=args.documents)
    rows = [{"id": f"{row['kind']}-{at}"} | row for at, row in enumerate(told.rows)]
    shares = split_examples(rows, seed=args.seed)
    taught = [row for row in rows if shares[row["id"]] == "bridge"]
    held = [row | {"slice": shares[row["id"]]} for row in rows if shares[row["id"]] != "bridge"]
    seen = [row | {"slice": "seen"} for row in taught[:: max(1, len(taught) // SEEN)][:SEEN]]
    with whole(output) as aside:
        _write(aside / "bridge_examples.jsonl", taught)
        _write(aside / "held_out.jsonl", [*seen, *held])
    for kind, count in told.by_kind().items():
        sys.stdout.write(f"{kind}: {count}\n")
    for reason, count in told.dropped.items():
        sys.stdout.write(f"left out, {reason}: {count}\n")
    sys.stdout.write(f"for the bridges: {len(taught)}, held out: {len(held)}\n")


def _write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), "utf-8")
