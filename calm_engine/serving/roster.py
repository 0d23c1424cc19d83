"""Which compositions one server has, and how each stands: they share its anchor, come and go.

Knows folders and names; how a composition is loaded and played, others know. Its methods are called
from one thread, the event loop's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from calm_engine.errors import InputError
from calm_engine.process import as_engine_error
from calm_engine.serving.batching import Batcher
from calm_engine.serving.line import Line, Loaded, Ticket
from calm_engine.wording import sentence

logger = logging.getLogger(__name__)

ANCHOR = "anchor"


@dataclass(frozen=True)
class Part:
    """One composition to be served.

    key          tells it from all others of this server
    name         under which programs ask for it
    composition  its folder; `augmenters` are those of its augmenters
    """

    key: str
    name: str
    composition: str
    augmenters: tuple[str, ...]


@dataclass
class Seat:
    """One composition of this server: what it is, why it failed, when it was last busy."""

    part: Part
    failure: str = ""
    asked: float = field(default_factory=time.monotonic)


Answers = Line[Ticket, Mapping[str, Loaded]]


class Roster:
    """The compositions of one server.

    load    makes one ready beside the anchor that is here; called on threads of their own. None:
            this engine plays what it began with
    """

    def __init__(
        self,
        parts: Sequence[Part],
        line: Answers,
        load: Callable[[Part], Loaded] | None = None,
    ) -> None:
        self._seats = {part.key: Seat(part) for part in parts}
        self._line, self._load = line, load
        self._changing = threading.Lock()

    @property
    def can_change(self) -> bool:
        return self._load is not None

    def names(self, key: str | None) -> list[str]:
        """What may be asked for: where all are here, each by its key."""
        if key is None:
            return [*self._seats, ANCHOR]
        return [self._seats[key].part.name, ANCHOR] if key in self._seats else []

    def find(self, model: str, key: str | None) -> tuple[str, bool]:
        """The key of what a name means, and whether it means the bare anchor.

        key   of the only composition that there is for this asker; None: all are there
        Raises KeyError.
        """
        if model in self._seats and key is None:
            return model, False
        if key is None and model == ANCHOR and self._seats:
            ready = (one for one in self._seats if self.state(one) == "ready")
            return next(ready, next(iter(self._seats))), True
        if key in self._seats and model in (ANCHOR, self._seats[key].part.name):
            return key, model == ANCHOR
        raise KeyError(model)

    def loaded(self, key: str) -> Loaded:
        """What may be asked now. Raises EngineError when it may not."""
        self._seats[key].asked = time.monotonic()
        state = self.state(key)
        found = (self._line.loaded or {}).get(key)
        if state != "ready" or found is None:
            raise InputError(f"server.{state}")
        return found

    def state(self, key: str) -> str:
        """One of loading, ready, draining, failed."""
        if self._seats[key].failure:
            return "failed"
        if self._line.state != "ready":
            return self._line.state
        if key not in (self._line.loaded or {}):
            return "loading"
        return "draining" if self._line.is_leaving(key) else "ready"

    def told(self) -> list[dict[str, Any]]:
        """Each one: how it stands, how much is asked of it, and how long nobody has asked (s)."""
        return [self._told(key, seat) for key, seat in self._seats.items()]

    def _told(self, key: str, seat: Seat) -> dict[str, Any]:
        now, under_way = time.monotonic(), self._line.asked_of(key)
        if under_way:
            seat.asked = now
        return {
            "key": key,
            "name": seat.part.name,
            "state": self.state(key),
            "reason": seat.failure,
            "under_way": under_way,
            "places": self._line.places,
            "idle": round(now - seat.asked, 1),
        }

    # -- coming and going --------------------------------------------------------------------------

    def add(self, part: Part) -> None:
        """Load one more beside the others, which go on answering meanwhile.

        What is here under this key already, and did not fail, is left as it is.
        """
        seat = self._seats.get(part.key)
        if seat is not None and not seat.failure:
            return
        seat = self._seats[part.key] = Seat(part)
        threading.Thread(target=self._fetch, args=(seat,), name="loader", daemon=True).start()

    def _fetch(self, seat: Seat) -> None:
        assert self._load is not None
        assert isinstance(self._line, Batcher)
        try:
            loaded = self._load(seat.part)
            with self._changing:
                if self._seats.get(seat.part.key) is seat:  # nobody let it go meanwhile
                    self._line.take_in(seat.part.key, loaded, partial(self._note, seat))
        except Exception as error:
            logger.exception("a composition cannot be loaded")
            self._note(seat, error)

    def _note(self, seat: Seat, error: Exception | None) -> None:
        if error is not None:
            seat.failure = sentence(as_engine_error(error))

    def drop(self, key: str, *, within: float) -> None:
        """Let one go when its answers have ended, at the latest after so many seconds."""
        assert isinstance(self._line, Batcher)
        with self._changing:
            if self._seats.pop(key, None) is not None:
                self._line.let_go(key, within=within)
