"""calm inspect: what a model folder is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from calm_engine.cli.flags import add_json, add_parents, add_verb
from calm_engine.cli.showing import say


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_verb(
        verbs,
        "inspect",
        _inspect,
        told="say what a model folder is, and check that it is whole",
        example="calm inspect models/together --verify --anchor models/smollm2 "
        "--augmenter models/ours",
    )
    parser.add_argument("folder", help="composition, augmenter or anchor")
    parser.add_argument("--verify", action="store_true", help="compare every file's digest")
    add_parents(parser, required=False)
    add_json(parser)


def _inspect(args: argparse.Namespace) -> None:
    from calm_engine.inspection import facts_of, verify_parents  # noqa: PLC0415 not for --help

    facts = facts_of(Path(args.folder))
    if args.verify:
        facts["verified"] = verify_parents(Path(args.folder), args.anchor, args.augmenter)
    if args.json:
        say(json.dumps(facts, indent=2, sort_keys=True))
        return
    for name, value in facts.items():
        for line in value if isinstance(value, list) else [value]:
            say(f"{name:<12} {line}")
