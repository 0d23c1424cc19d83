"""`bench_sealing`: what it costs to write and read stored files sealed, beside plain ones.

Writes into a folder beside the stored files, and removes it. One process, one thread.
Prints a table for people and one JSON object a line; exits 1 when a bar is missed.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.demo import benches
from apps.demo.measuring import seconds
from calm_engine.figures import Figure
from counterpoint.framing import FrameReader, FrameWriter
from counterpoint.sealedfiles import FRAME

PIECE = 1 << 20
KEY = secrets.token_bytes(32)


class Command(BaseCommand):
    help = "Measure sealing and opening of stored files beside plain ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--megabytes", type=int, default=256)

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["megabytes"] < 1:
            raise CommandError("--megabytes is at least 1.")
        settings.HOME.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=settings.HOME) as folder:
            figures = list(measured(Path(folder), options["megabytes"]))
        benches.tell(figures, self.stdout)


def measured(folder: Path, megabytes: int) -> Iterator[Figure]:
    plain, sealed, piece = folder / "plain", folder / "sealed", secrets.token_bytes(PIECE)

    def write_plain() -> None:
        with plain.open("wb") as file:
            for _ in range(megabytes):
                file.write(piece)

    def seal() -> None:
        with sealed.open("wb") as file:
            writer = FrameWriter(file, KEY, FRAME)
            for _ in range(megabytes):
                writer.write(piece)
            writer.finish()

    def digest() -> None:
        with plain.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    def unseal() -> None:
        with sealed.open("rb") as file:
            reader = FrameReader(file, KEY, FRAME, damaged=ValueError)
            while reader.read(PIECE):
                pass

    rate = {each: megabytes / seconds(each) for each in (write_plain, seal, digest, unseal)}
    yield told("write plain", rate[write_plain], rate[write_plain])
    yield told("write sealed", rate[seal], rate[write_plain])
    yield told("read and digest plain", rate[digest], rate[digest])
    # Weights are digested whenever they are loaded: opening must not cost much more than that.
    yield told("read sealed", rate[unseal], rate[digest], bar=0.3)


def told(name: str, rate: float, beside: float, *, bar: float | None = None) -> Figure:
    """bar  the least share of what stands beside it"""
    against = f"{rate / beside:.2f} of plain"
    least = None if bar is None else bar * beside
    return Figure(name, rate, "MB/s", against, least, at_least=True)
