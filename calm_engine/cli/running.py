"""What the verbs that follow a spec share: they read it, show progress and report the outcome."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator
from typing import Any

from calm_engine.cli.flags import add_fields, add_json, add_verb
from calm_engine.cli.reading import SPECS, check_paths, spec_from
from calm_engine.cli.showing import follow, progress_shown, report
from calm_engine.process import threads
from calm_engine.specs import Outcome, Progress


def add_run(verbs: Any, name: str, *, told: str, example: str) -> argparse.ArgumentParser:
    """A verb whose flags are the fields of its spec."""
    parser = add_verb(verbs, name, run, told=told, example=example)
    parser.add_argument("--spec", metavar="FILE", help="JSON; flags are laid over it")
    add_fields(parser, SPECS[name])
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Do what the spec says, with progress, and report what came out."""
    spec = spec_from(args)  # refused before torch is loaded
    check_paths(spec)
    import torch  # noqa: PLC0415 loads slowly

    from calm_engine import api  # noqa: PLC0415 loads torch

    torch.set_num_threads(threads(spec.threads))
    runs: dict[str, Callable[[Any], Generator[Progress, None, Outcome]]]
    runs = {"augment": api.augment, "compose": api.compose, "evaluate": api.evaluate}
    runs |= {"examples": api.write_examples}
    with progress_shown() as show:
        outcome = follow(runs[args.name](spec), show)
    report(outcome, args)
