"""calm import: bring an open model in, as an anchor or as an embedding model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from calm_engine.cli.flags import HELP, add_json, add_verb
from calm_engine.cli.showing import report


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_verb(
        verbs,
        "import",
        _import,
        told="bring an open model in: a folder of safetensors, or a GGUF file",
        example="calm import SmolLM2-135M-Instruct.gguf --output models/smollm2",
    )
    parser.add_argument("source", help="folder or .gguf file")
    parser.add_argument("--output", required=True, help=HELP["output"])
    told = "what it is to be: an anchor (default), or what finds passages by their meaning"
    roles = ("anchor", "embedder")
    parser.add_argument("--as", dest="role", choices=roles, default="anchor", help=told)
    add_json(parser)


def _import(args: argparse.Namespace) -> None:
    from calm_engine.embedding import import_embedder  # noqa: PLC0415 loads torch
    from calm_engine.importing import import_anchor  # noqa: PLC0415 likewise

    bring = import_embedder if args.role == "embedder" else import_anchor
    report(bring(Path(args.source), Path(args.output)), args)
