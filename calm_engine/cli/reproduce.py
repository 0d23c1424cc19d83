"""calm reproduce: a table of the paper again, and the bridge's options side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from calm_engine.cli.flags import add_verb, natural
from calm_engine.cli.showing import Lines, say
from calm_engine.errors import InputError, InternalError
from calm_engine.specs import ComposeSpec


def add(verbs: Any) -> None:
    """The verb, its tables and their flags."""
    parser = verbs.add_parser("reproduce", help="make a table of the paper again, from nothing")
    tables = parser.add_subparsers(dest="table", required=True, metavar="TABLE")
    _add_key_value(tables)
    _add_options(tables)


def _add_key_value(tables: Any) -> None:
    parser = add_verb(
        tables,
        "key-value",
        _key_value,
        told="the key-value table of the paper, from nothing",
        example="calm reproduce key-value --quick",
    )
    parser.add_argument("--quick", action="store_true", help="smaller, with lower bars")
    parser.add_argument("--seed", type=natural, default=1, help="default 1")
    parser.add_argument("--output", metavar="FOLDER", help="keep the four models there")


def _add_options(tables: Any) -> None:
    parser = add_verb(
        tables,
        "options",
        _options,
        told="train each form of the bridges with some seeds, and ask all the same",
        example="calm reproduce options --compose spec.json --questions questions.jsonl "
        "--output options",
    )
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--compose", metavar="SPEC", help="JSON file of a composition's spec")
    told = "models of `calm reproduce key-value --output`, instead of a spec"
    task.add_argument("--key-value", metavar="FOLDER", help=told)
    parser.add_argument("--questions", metavar="FILE", help='JSON lines of examples with a "slice"')
    parser.add_argument("--mismatched", metavar="FOLDER", help="an augmenter of another corpus")
    told = "results are kept there; begun again, the table goes on"
    parser.add_argument("--output", metavar="FOLDER", required=True, help=told)
    parser.add_argument("--seeds", type=natural, nargs="+", default=[1, 2, 3], help="default 1 2 3")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these options alone")


def _key_value(args: argparse.Namespace) -> None:
    from calm_engine.reproduce.run import FULL, QUICK, reproduce  # noqa: PLC0415 loads torch

    form = QUICK if args.quick else FULL
    output = Path(args.output) if args.output else None
    table = reproduce(form, args.seed, output, Lines().show)
    bars = table.bars(form.wanted)
    for line in (*table.lines(), *(bar.as_json() for bar in bars)):
        say(line)
    if missed := [bar.name for bar in bars if not bar.is_met]:
        raise InternalError("reproduce.bars", missed=", ".join(missed))


def _options(args: argparse.Namespace) -> None:
    from calm_engine.reproduce import as_composed, options  # noqa: PLC0415 loads torch
    from calm_engine.reproduce.run import FULL  # noqa: PLC0415 loads torch

    output = Path(args.output)
    if args.key_value:
        base = as_composed.write_task(
            Path(args.key_value), output, keys=FULL.keys, operands=FULL.operands, seed=1
        )
        questions = output / as_composed.QUESTIONS
    else:
        base = ComposeSpec.from_file(args.compose)
        if not args.questions:
            raise InputError("spec.missing", "`--questions` must be given", fields="questions")
        questions = Path(args.questions)
    results = options.compared(
        base,
        questions,
        output,
        seeds=args.seeds,
        tell=Lines().show,
        options=options.named(args.only),
        mismatched=Path(args.mismatched) if args.mismatched else None,
    )
    for line in options.lines(list(results)):
        say(line)
