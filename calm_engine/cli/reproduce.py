"""calm reproduce: a table of the paper again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from calm_engine.cli.flags import add_verb, natural
from calm_engine.cli.showing import Lines, say
from calm_engine.errors import InternalError


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_verb(
        verbs,
        "reproduce",
        _reproduce,
        told="make a table of the paper again, from nothing",
        example="calm reproduce key-value --quick",
    )
    parser.add_argument("table", choices=("key-value",), help="the table")
    parser.add_argument("--quick", action="store_true", help="smaller, with lower bars")
    parser.add_argument("--seed", type=natural, default=1, help="default 1")
    parser.add_argument("--output", metavar="FOLDER", help="keep the four models there")


def _reproduce(args: argparse.Namespace) -> None:
    from calm_engine.reproduce.run import FULL, QUICK, reproduce  # noqa: PLC0415 loads torch

    form = QUICK if args.quick else FULL
    output = Path(args.output) if args.output else None
    table = reproduce(form, args.seed, output, Lines().show)
    bars = table.bars(form.wanted)
    for line in (*table.lines(), *(bar.as_json() for bar in bars)):
        say(line)
    if missed := [bar.name for bar in bars if not bar.is_met]:
        raise InternalError("reproduce.bars", missed=", ".join(missed))
