"""One file as a place outside tells of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """A file that is there.

    path   with plain slashes, from the top of the place
    mark   another one whenever the content may be another: a time with a size, or an entity tag
    """

    path: str
    size: int
    mark: str
