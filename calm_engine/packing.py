"""A part of a corpus to shards, in a process of its own: `python -m calm_engine.packing part.json`.

The platform makes a large corpus's shards on many workers before its training begins; what the
parts leave together is, byte for byte, what `preparing.prepare_shards` would make of the whole.
Knows no tenant and no queue.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calm_engine.data import block_of
from calm_engine.errors import EngineError
from calm_engine.families import read_tokenizer
from calm_engine.preparing import SLICE, Preparation, Slice, begin, make, name_of
from calm_engine.specs import Spec
from calm_engine.wording import sentence


@dataclass(frozen=True)
class Part(Spec):
    """Some slices of a corpus's file, whose lines lie in a file of their own.

    lines      the lines of the whole that begin in these slices
    offset     byte of the whole at which the first of them begins
    first, last   the slices, counted from 0, last excluded
    size       bytes of the whole; digest  its SHA-256
    block      tokens in a block, as in `AugmentSpec`
    """

    lines: str
    tokenizer: str
    output: str
    block: int
    digest: str
    size: int
    offset: int
    first: int
    last: int

    def slices(self) -> Iterator[Slice]:
        """The slices as they lie in the file of lines; each has the name it has in the whole."""
        for number in range(self.first, self.last):
            start, end = number * SLICE, min(self.size, (number + 1) * SLICE)
            here = (max(0, start - self.offset), max(0, end - self.offset))
            yield Slice(self.lines, *here, name_of(0, number))


def pack(part: Part) -> None:
    """Make the part's shards. Raises what `prepare_shards` raises."""
    block = block_of(part.block, read_tokenizer(part.tokenizer))
    asked = Preparation((part.lines,), part.tokenizer, block, digests=(part.digest,))
    folder = Path(part.output)
    begin(folder, asked.key())
    make(asked, list(part.slices()), folder)


def main(arguments: list[str]) -> int:
    """0 when it is done; 2, with a sentence, when what was given is at fault."""
    try:
        pack(Part.from_file(arguments[0]))
    except EngineError as error:
        sys.stderr.write(f"{sentence(error)}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
