"""calm serve: a composition, or an embedding model, over the OpenAI protocol."""

from __future__ import annotations

import argparse
from typing import Any

from calm_engine.cli.flags import HELP, add_parents, add_verb, natural
from calm_engine.cli.reading import need_folders
from calm_engine.errors import InputError


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_verb(
        verbs,
        "serve",
        _serve,
        told="serve a composition and its bare anchor over the OpenAI protocol, or an embedding "
        "model",
        example="calm serve --composition models/together --anchor models/smollm2 "
        "--augmenter models/ours --name ours --port 8100 --secret-file secret",
    )
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--composition", metavar="FOLDER", help=HELP["composition"])
    kinds.add_argument("--embedder", metavar="FOLDER", help="folder of an embedding model")
    add_parents(parser, required=False)
    parser.add_argument(
        "--beside",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "FOLDER"),
        help="one more composition on the same anchor: its name, its folder, then those of its "
        "augmenters; torch alone",
    )
    parser.add_argument("--name", required=True, help="its name among the models")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0: any free one")
    parser.add_argument("--secret-file", metavar="FILE", help="the bearer's secret, one line")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, help=HELP["threads"])
    parser.add_argument("--rows", type=int, default=16, help="answers at once; default 16")
    parser.add_argument("--queue", type=int, default=64, help="requests that may wait; default 64")
    parser.add_argument("--drain", type=int, default=30, help="seconds to finish on SIGTERM")
    parser.add_argument(
        "--engine", default="torch", choices=("torch", "vllm"), help="default torch"
    )
    told = "tokens that the augmenter drafts for an answer that is alone; default 4, 0: none"
    parser.add_argument("--draft", type=natural, default=4, metavar="K", help=told)
    parser.add_argument("--cache-gb", type=float, help="GiB for keys and values")
    parser.add_argument("--events", action="store_true", help="print states as JSON lines")


def _serve(args: argparse.Namespace) -> None:
    augmenters = tuple(args.augmenter or ())
    if args.composition and not (args.anchor and augmenters):
        raise InputError("server.parents")
    named = [(args.name, args.composition, *augmenters), *args.beside] if args.composition else []
    if "anchor" in (names := [args.name, *(one[0] for one in args.beside)]):
        raise InputError("server.name")
    if len({*names}) < len(names) or any(len(one) < 3 for one in named):
        raise InputError("server.beside")
    folders = [folder for _, *each in named for folder in each]
    need_folders(*filter(None, (args.embedder, args.anchor, *folders)))
    from calm_engine.serving.roster import Part  # noqa: PLC0415 loads torch
    from calm_engine.serving.server import Serving, serve  # noqa: PLC0415 loads torch

    serve(
        Serving(
            name=args.name,
            parts=tuple(Part(name, name, first, tuple(rest)) for name, first, *rest in named),
            anchor=args.anchor or "",
            embedder=args.embedder,
            host=args.host,
            port=args.port,
            secret_file=args.secret_file,
            device=args.device,
            threads=args.threads,
            rows=args.rows,
            queue=args.queue,
            drain_seconds=args.drain,
            events=args.events,
            engine=args.engine,
            cache_gb=args.cache_gb,
            draft=args.draft,
        )
    )
