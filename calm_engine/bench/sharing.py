"""What a second composition on one anchor costs a server: in weights, and as the system counts.

Real servers, `calm serve`, one with one composition, one with two, and two with one each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from calm_engine.bench.models import load_anchor, new_augmenter
from calm_engine.costs import storage_bytes
from calm_engine.families import read_tokenizer
from calm_engine.figures import Figure
from calm_engine.modeling import CalmForCausalLM
from calm_engine.serving.roster import Part
from calm_engine.serving.server import Loader, Serving

MIB = 2**20
OWN, OF_TWO = 1.0, 0.75  # of its own parts' bytes; of the memory of two processes


def measure(folder: Path, scratch: Path) -> Iterator[Figure]:
    """By unique storage, then resident memory; what processes share is counted once (PSS)."""
    parts = [_part(folder, scratch / f"shared {number}", number) for number in (1, 2)]
    loader = Loader(Serving("first", tuple(parts), str(folder), device="cpu"))
    one, two = (loader.one(part).model for part in parts)
    own = storage_bytes(*two.augmenters, *two.bridges, *two.output_gates)
    added = storage_bytes(one, two) - storage_bytes(one)
    yield Figure(
        "serving.memory.weights", storage_bytes(one) / MIB, "MiB", "one composition and its anchor"
    )
    yield Figure("serving.memory.second_weights", added / MIB, "MiB", "what a second one adds")
    told = "the second one's augmenter, bridges and gates"
    yield Figure("serving.memory.second_own", added / own, "ratio", told, OWN, False)
    del one, two, loader
    alone = _held(folder, [parts[:1]])
    together, apart = _held(folder, [parts]), _held(folder, [parts[:1], parts[1:]])
    yield Figure("serving.memory.held", alone / MIB, "MiB", "a process with one composition")
    yield Figure("serving.memory.second_held", (together - alone) / MIB, "MiB", "a second one adds")
    told = "two processes with one each"
    yield Figure("serving.memory.beside_two", together / apart, "ratio", told, OF_TWO, False)


def _part(folder: Path, scratch: Path, number: int) -> Part:
    """A composition on the anchor, with an augmenter of its own."""
    small = new_augmenter(load_anchor(folder, torch.device("cpu")))
    with torch.no_grad():
        small.lm_head.weight.mul_(number)  # weights of their own: else files would be the same
    small.save_pretrained(scratch / "augmenter")
    read_tokenizer(folder).save_pretrained(scratch / "augmenter")
    made = CalmForCausalLM.compose(folder, [scratch / "augmenter"])
    made.save_pretrained(scratch / "composition")
    name = f"model-{number}"
    return Part(name, name, str(scratch / "composition"), (str(scratch / "augmenter"),))


def _held(folder: Path, servers: list[list[Part]]) -> int:
    """Bytes that so many servers hold together, each with its compositions, when all are ready."""
    with ExitStack() as stack:
        running = [stack.enter_context(_served(folder, parts)) for parts in servers]
        return sum(map(_proportional, running))


@contextmanager
def _served(folder: Path, parts: list[Part]) -> Iterator[int]:
    """A server that is ready: its process id."""
    first, *others = parts
    command = [sys.executable, "-m", "calm_engine.cli", "serve", "--anchor", str(folder)]
    command += ["--composition", first.composition, "--augmenter", *first.augmenters]
    command += ["--name", first.name, "--port", "0", "--events", "--device", "cpu"]
    for one in others:
        command += ["--beside", one.name, one.composition, *one.augmenters]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 ourselves
        assert process.stdout is not None
        try:
            while json.loads(process.stdout.readline())["type"] != "ready":
                pass
            yield process.pid
        finally:
            process.terminate()
            process.stdout.read()  # what it says at its end, it says to somebody


def _proportional(process: int) -> int:
    """Resident bytes; of a page that several processes have, each one's share."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
