"""What a model host knows of each of its models, and which of them may be put to sleep.

Knows no process, no row and no clock but the one that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from apps.registry.placements import Wanted
from workers.servers import Server, Told

# Whoever asks twice within this may be writing the second question; nobody sleeps in between.
IDLE_SECONDS = 30.0


@dataclass
class Seat:
    """One model of a host: where it is served, and how it fares.

    told        what its server said of it last
    deaths      in a row; after the second it shares no process any more: who kills it is not known
    placed      when it was given to its server
    is_wanted   false when it only stays until its successor is ready
    """

    wanted: Wanted
    server: Server | None = None
    told: Told | None = None
    deaths: int = 0
    not_before: float = 0.0
    placed: float = 0.0
    is_wanted: bool = True
    is_resting: bool = False
    is_asleep: bool = False
    reason: str = ""

    @property
    def is_ready(self) -> bool:
        return self.server is not None and self.told is not None and self.told.state == "ready"

    @property
    def load(self) -> tuple[int, int]:
        return (self.told.under_way, self.told.places) if self.told else (0, 0)

    @property
    def is_tame(self) -> bool:
        """Whether it may share a process."""
        return self.deaths <= 1

    def clear(self) -> None:
        """It has no server any more."""
        self.server = self.told = None

    def may_sleep(self) -> bool:
        """Whether its memory may be given to another: nobody has asked for a while."""
        if not self.is_ready or self.wanted.is_warm or self.wanted.kind != "composition":
            return False
        assert self.told is not None
        return self.told.under_way == 0 and self.told.idle >= IDLE_SECONDS


def least_used(seats: Iterable[Seat], *, beside: Seat) -> Seat | None:
    """Whose memory goes to `beside`: who was asked the longest ago; the predecessor comes last.

    The predecessor of a new version answers until that is ready, but rather a short gap than none.
    """
    others = [seat for seat in seats if seat is not beside]
    asleep = [seat for seat in others if seat.is_wanted and seat.may_sleep()]
    before = [seat for seat in others if not seat.is_wanted and seat.is_ready]
    before = [seat for seat in before if seat.wanted.line == beside.wanted.line]
    idle = sorted(asleep, key=lambda seat: -(seat.told.idle if seat.told else 0.0))
    return next(iter([*idle, *before]), None)
