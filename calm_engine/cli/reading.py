"""Specs from flags and files, refused before torch is loaded. Knows no verb's work."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from calm_engine.errors import InputError
from calm_engine.specs import (
    OURS,
    AugmentSpec,
    BridgeSpec,
    ComposeSpec,
    EvaluateSpec,
    ExamplesSpec,
    Spec,
)

SPECS: dict[str, type[Spec]] = {
    "examples": ExamplesSpec,
    "augment": AugmentSpec,
    "compose": ComposeSpec,
    "evaluate": EvaluateSpec,
}


def spec_from(args: argparse.Namespace) -> Any:
    """The spec of a run: the file's fields, flags over them. Raises InputError naming fields."""
    kind = SPECS[args.name]
    values: dict[str, Any] = {}
    if args.spec:
        values = json.loads(_object_in(args.spec))
    for field in dataclasses.fields(kind):
        given = getattr(args, field.name, None)
        if given is not None:
            values[field.name] = given
    if kind is ComposeSpec:
        _add_bridge(values, args)
    values.setdefault("output", "")
    for name in _required(kind):
        if name not in values:
            raise InputError("spec.value", f"`--{name}` must be given", fields=name)
    return kind.from_dict(values)


def _object_in(path: str) -> str:
    """The text of a file that holds one JSON object."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError("spec.json", f"The spec {path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError("spec.json", f"The spec {path} must hold one JSON object")
    return text


def _add_bridge(values: dict[str, Any], args: argparse.Namespace) -> None:
    if args.paper:
        values["bridge"] = BridgeSpec.paper().to_dict()
    if args.connections:
        values["bridge"] = {**values.get("bridge", {}), "connections": _pairs(args.connections)}


def _pairs(text: str) -> list[list[int]]:
    """Read "2:9,5:19" as pairs of layers."""
    try:
        return [[int(a), int(b)] for a, b in (pair.split(":") for pair in text.split(","))]
    except ValueError as error:
        raise InputError("spec.value", "`--connections` must look like 2:9,5:19") from error


def _required(kind: type[Spec]) -> list[str]:
    unset = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return [f.name for f in fields if f.default is unset and f.default_factory is unset]


def check_paths(spec: Any) -> None:
    """Folders and files that a run reads are there. Raises "anchor.missing" and "data.file"."""
    parents = ("tokenizer", "anchor", "composition", "base", "previous", "before")
    others = ("random", "mismatched", "embedder", "tasks")
    folders = [getattr(spec, name, None) for name in (*parents, *others)]
    need_folders(*filter(None, folders), *getattr(spec, "augmenters", ()))
    files = ("documents", "examples", "questions", "previous_documents", "lessons", "general")
    more = ("strangers", "passages", "labels")
    for name in (*files, *more):
        path = getattr(spec, name, None)
        if path and path not in OURS and not Path(path).is_file():
            raise InputError("data.file", path=path)


def need_folders(*folders: str) -> None:
    for folder in folders:
        if not Path(folder).is_dir():
            raise InputError("anchor.missing", path=folder)
