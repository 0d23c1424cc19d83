"""Tells texts that are nearly the same, by MinHash. Pure: knows no row, no corpus, no storage.

Sources: Broder 1997, "On the resemblance and containment of documents"; bands as in Leskovec,
Rajaraman, Ullman, "Mining of Massive Datasets", section 3.4. With 20 bands of 6 a pair of Jaccard
0.8 meets in a band with probability 1 - (1 - 0.8**6)**20 = 0.998; what meets is then counted out.
"""

from __future__ import annotations

import re
import struct
from hashlib import blake2b

BANDS, ROWS = 20, 6
SEED = 42  # signatures are stored: never change it, nor anything of `shingles`
WORDS = 3  # words of one shingle
ALIKE = 0.8  # Jaccard of the shingles from which on two texts count as one


def shingles(text: str) -> set[str]:
    """Every run of three words, whatever their case and punctuation."""
    words = re.findall(r"\w+", text.casefold())
    if len(words) <= WORDS:
        return {" ".join(words)}
    return {" ".join(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)}


def bands(parts: set[str]) -> list[int]:
    """One signed 64-bit key for each band: texts that share a key may be nearly the same."""
    from rensa import RMinHash  # noqa: PLC0415 - a compiled library that pages do not need

    minhash = RMinHash(num_perm=BANDS * ROWS, seed=SEED)
    minhash.update(list(parts))
    digest = minhash.digest()
    return [_key(band, digest[band * ROWS : (band + 1) * ROWS]) for band in range(BANDS)]


def _key(band: int, rows: list[int]) -> int:
    packed = struct.pack(f"<{ROWS + 1}I", band, *rows)
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "little", signed=True)


def jaccard(one: set[str], other: set[str]) -> float:
    """The share of shingles that both have, of those that either has."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if one or other else 1.0
