"""Flags that several verbs share, and what each means. Knows no engine."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any

from calm_engine.specs import Spec

# What each field of a spec means, where its name does not say it.
HELP = {
    "output": "folder for the result; it appears only when it is whole",
    "work": "folder for checkpoints; default: beside the output",
    "steps": "optimiser steps; default: chosen from the data",
    "batch_size": "sequences a step",
    "learning_rate": "peak rate; default: chosen by size",
    "checkpoint_every": "steps between checkpoints",
    "keep_checkpoints": "how many checkpoints to keep",
    "device": "auto, cpu or cuda",
    "threads": "torch threads; default: the cores available",
    "tokenizer": "folder of the anchor, whose tokenizer is used",
    "documents": 'JSON lines {"digest", "title", "text"}',
    "examples": 'JSON lines {"id", "question", "answer", "expected", "kind", "entity", "value"}',
    "width": "width of the augmenter; default: chosen from the corpus",
    "block": "tokens in a training block",
    "base": "folder of an open model with the same tokenizer to train on from",
    "previous": "folder of the augmenter to bring up to date: training goes on from it",
    "previous_documents": "what that augmenter was taught, JSON lines",
    "before": "with --without: folder of the augmenter that knows the document, to be asked too",
    "history": "with --without: work folder of its training, to go on from its checkpoints",
    "milestones": "checkpoints of the first pass over shards that stay, to forget from later",
    "lessons": "beside documents in shards: studied, or JSON lines of lessons",
    "general": "JSON lines of public documents to mix in, or everyday-1: short texts of ours",
    "deal": "auto, rounds (each entity in each round) or shuffled (from shards, any size)",
    "passes": "how often the text is met when shuffled",
    "workers": "processes that prepare shards; default: the cores available",
    "schedule": "of the learning rate: wsd or cosine",
    "optimizer": "auto, adamw, or muon, which knows a corpus in fewer steps",
    "anchor": "folder of the anchor",
    "augmenters": "folder of an augmenter; give it once for each, in their order",
    "general_share": "share of public text in what is read",
    "control": "none, or random: an augmenter of random weights, for comparison",
    "composition": "folder of the composition",
    "questions": 'JSON lines of examples with a "slice"',
    "random": "folder of a composition on a random augmenter, for comparison",
    "mismatched": "folder of an augmenter of the same shape that learned something else",
    "embedder": "folder of an encoder that finds passages by meaning as well",
    "strangers": "JSON lines of questions about a corpus that nobody here learned",
    "judge": "folder of a chat model that decides long answers which no rule can",
    "labels": "what people said of such answers, JSON lines",
    "passages": "documents, JSON lines: learn behind passages of them, and what the anchor says so",
    "surrounded_share": "share of batches behind other turns of a chat, or behind passages",
    "unanswerable": "questions about made-up names for each entity; default 0",
    "canaries": "made-up secrets to plant, for a report card to ask for",
    "tasks": "folder of lm_eval's tasks: what is kept of the anchor's skills",
    "max_new_tokens": "longest answer, in tokens",
}


def add_verb(
    verbs: Any, name: str, verb: Callable[[argparse.Namespace], None], *, told: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=told,
        description=told[0].upper() + told[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(verb=verb, name=name)
    parser.add_argument("--debug", action="store_true", help="show where a fault happened")
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_fields(parser: argparse.ArgumentParser, kind: type[Spec]) -> None:
    """A flag for each plain field of a spec; what is not given stays at the spec's default."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        told = HELP.get(field.name, field.name.replace("_", " "))
        flag = f"--{field.name.replace('_', '-')}"
        if field.name == "augmenters":
            parser.add_argument(
                "--augmenter", dest=field.name, action="append", metavar="FOLDER", help=told
            )
        elif (plain := _plain(hints[field.name])) is not None:
            parser.add_argument(flag, type=plain, metavar=plain.__name__.upper(), help=told)


def _plain(hint: Any) -> type | None:
    """str, int or float inside a hint such as `int | None`; None for anything richer."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((kind for kind in (str, int, float) if kind in options), None)


def add_parents(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--anchor", required=required, metavar="FOLDER", help=HELP["anchor"])
    parser.add_argument(
        "--augmenter",
        action="append",
        required=required,
        metavar="FOLDER",
        help=HELP["augmenters"],
    )


def natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number
