"""`python -m calm_engine.bench`: every figure with its bar; exit status 1 when one is missed."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from calm_engine.bench import (
    corpus,
    decoding,
    drafts,
    estimates,
    knowledge,
    manual,
    preparation,
    serving,
    sizes,
    teaching,
    training,
)
from calm_engine.bench.figures import show
from calm_engine.bench.models import anchor_folder
from calm_engine.errors import EngineError
from calm_engine.figures import Figure
from calm_engine.process import threads
from calm_engine.specs import OPTIMIZERS

PARTS = ("sizes", "preparation", "teaching", "training", "decoding", "trained")
ASKED_FOR = ("knowledge", "manual", "serving")  # minutes each, so only by their names


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m calm_engine.bench", description=__doc__)
    told = f"of {', '.join(PARTS)}, or {', '.join(ASKED_FOR)}; default: all of the first"
    parser.add_argument("parts", nargs="*", metavar="part", help=told)
    parser.add_argument("--anchor", type=Path, help="a model's folder; else the demo's anchor")
    parser.add_argument(
        "--megabytes", type=int, default=100, help="preparation: of the largest corpus; default 100"
    )
    parser.add_argument("--documents", type=Path, help="manual: a folder of text files")
    parser.add_argument("--seconds", type=float, default=240, help="of a core; default 240")
    parser.add_argument(
        "--optimizer", default="auto", choices=OPTIMIZERS, help="knowledge: default auto"
    )
    parser.add_argument("--plot", type=Path, help="manual: where the curves go, as SVG")
    args = parser.parse_args(arguments)
    if "manual" in args.parts and (args.documents is None or not args.documents.is_dir()):
        parser.error("manual needs --documents FOLDER with text or Markdown files")
    if args.megabytes < 1:
        parser.error("--megabytes must be at least 1")
    if args.seconds <= 0:
        parser.error("--seconds must be more than 0")
    if unknown := set(args.parts) - {*PARTS, *ASKED_FOR}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(threads())
    print(f"{device.type}, {torch.get_num_threads()} threads, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="calm-bench-") as scratch:
        try:
            return show(_measured(args, device, Path(scratch)))
        except EngineError as error:
            parser.error(str(error))


def _measured(args: argparse.Namespace, device: torch.device, scratch: Path) -> Iterator[Figure]:
    parts = args.parts or PARTS
    if "sizes" in parts:
        yield from sizes.measure()
    if set(parts) == {"sizes"}:
        return
    anchor = anchor_folder(scratch, args.anchor)
    if "preparation" in parts:
        yield from preparation.measure(anchor, scratch, most=args.megabytes)
    if "teaching" in parts:
        yield from teaching.measure(anchor, device)
    if "training" in parts:
        yield from training.measure(anchor, device)
    if "decoding" in parts:
        yield from decoding.measure(anchor, device)
    if "trained" in parts:
        augment, compose = corpus.specs(anchor, scratch)
        yield from estimates.measure(augment, compose, scratch)
        yield from drafts.measure(compose, device)
    if "knowledge" in parts:
        chosen = {"seconds": args.seconds, "optimizer": args.optimizer}
        yield from knowledge.measure(anchor, scratch, **chosen)
    if "serving" in parts:
        yield from serving.measure(anchor, scratch, device)
    if "manual" in parts:
        how = {"seconds": args.seconds, "plot": args.plot}
        yield from manual.measure(anchor, args.documents, scratch, **how)


if __name__ == "__main__":
    sys.exit(main())
