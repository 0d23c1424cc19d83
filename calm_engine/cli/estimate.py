"""calm estimate: what a training will take."""

from __future__ import annotations

import argparse
from typing import Any

from calm_engine.cli.flags import add_json, add_verb
from calm_engine.cli.reading import check_paths, spec_from
from calm_engine.cli.showing import say, size, span


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_verb(
        verbs,
        "estimate",
        _estimate,
        told="say how long a run will take and what it needs",
        example="calm estimate compose --spec compose.json",
    )
    parser.add_argument("name", choices=("augment", "compose"), help="the training")
    parser.add_argument("--spec", required=True, metavar="FILE", help="the run's spec, JSON")
    parser.set_defaults(paper=False, connections=None)
    add_json(parser)


def _estimate(args: argparse.Namespace) -> None:
    spec = spec_from(args)  # refused before torch is loaded
    check_paths(spec)
    from calm_engine.api import estimate  # noqa: PLC0415 loads torch

    told = estimate(spec)
    if args.json:
        say(told.to_json())
        return
    say(f"time    about {span(told.seconds)} (measured on this machine), {told.steps} steps")
    say(f"memory  {size(told.memory_bytes)}")
    if told.device_memory_bytes:
        say(f"device  {size(told.device_memory_bytes)}")
    say(f"disk    {size(told.disk_bytes)}")
    if told.why:
        say(f"size    {told.why}")
