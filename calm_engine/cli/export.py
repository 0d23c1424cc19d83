"""calm export: write a composition with its parents inside."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from calm_engine.cli.flags import HELP, add_json, add_parents, add_verb
from calm_engine.cli.showing import report


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_verb(
        verbs,
        "export",
        _export,
        told="write a composition with its parents inside, as one folder",
        example="calm export models/together --anchor models/smollm2 --augmenter models/ours "
        "--output models/alone",
    )
    parser.add_argument("folder", help=HELP["composition"])
    parser.add_argument("--output", required=True, help=HELP["output"])
    add_parents(parser, required=False)
    add_json(parser)


def _export(args: argparse.Namespace) -> None:
    from calm_engine.export import export  # noqa: PLC0415 loads torch

    anchor = Path(args.anchor) if args.anchor else None
    augmenters = [Path(one) for one in args.augmenter] if args.augmenter else None
    report(export(Path(args.folder), Path(args.output), anchor, augmenters), args)
