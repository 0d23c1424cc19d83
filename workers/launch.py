"""One attempt's child: started by the chosen launcher, followed by its events file to its end.

Knows what a run wishes of its child (`Job.wish`) and how to read how it ended; knows no rows, no
registry, no torch, and not whether the child is a process here or a Job of the cluster.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import IO, Any, Protocol

import structlog
from django.conf import settings

from apps.runs.endings import Fenced
from apps.runs.execution import Drained, Lost, Paused, Wish
from calm_engine.errors import Cancelled, EngineError, InputError, InternalError
from calm_engine.specs import Outcome, Progress, Spec
from workers.cluster import Job
from workers.places import Place
from workers.processes import Process

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
STOP_SECONDS = 30.0  # a stopped run may take this long to reach its next step
DRAIN_SECONDS = 300.0  # a drained one writes a checkpoint first
LOG_TAIL = 4000  # characters of the child's own words kept for the failure text


class Body(Protocol):
    """What runs the engine's verb: a process group of this machine, or a Job of the cluster."""

    def poll(self) -> int | None:
        """The exit status, or None while it works."""

    def ask(self) -> None:
        """Ask it to save a checkpoint and stop; asked again, it changes nothing."""

    def wait(self, seconds: float) -> None:
        """Come back when it has ended, or after so many seconds."""

    def kill(self) -> None:
        """End it now; afterwards nothing of it lives."""

    def ran_out_of_memory(self) -> bool:
        """Whether it was ended for want of memory."""

    def ended_by(self, words: str) -> str:
        """What ended it from outside, such as a signal or an eviction; "" when nothing did."""


def launcher() -> Callable[..., Body]:
    """The launcher that this site has chosen (RUN_LAUNCHER)."""
    return LAUNCHERS[settings.RUN_LAUNCHER]


LAUNCHERS: dict[str, Callable[..., Body]] = {"subprocess": Process, "kubernetes": Job}


class Child:
    """One attempt's body and its news; leaving the context leaves nothing running."""

    def __init__(self, verb: str, spec: Spec, place: Place, *, epoch: int, threads: int) -> None:
        self.place = place
        self.events = place.events(epoch)
        self.log = place.words(epoch)
        self._end: dict[str, Any] | None = None
        place.folder.mkdir(parents=True, exist_ok=True)
        place.spec.write_text(spec.to_json(), encoding="utf-8")
        self.events.touch()
        self.body = launcher()(verb, place, epoch=epoch, threads=threads)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.body.kill()

    def news(self, wish: Callable[[], Wish]) -> Generator[Progress, None, Outcome]:
        """Follow the child to its end. What it returns or raises is how the run ended.

        wish   asked a few times a second. Raises Fenced, Cancelled, Drained or Paused after acting
               on it, Lost when somebody else ended the child, and the child's own EngineError.
        """
        with self.events.open(encoding="utf-8") as file:
            while True:
                asked = wish()
                if asked is not Wish.NOTHING:
                    yield from self._obey(asked, file)
                has_ended = self.body.poll() is not None  # before reading: nothing is missed
                yield from self._read(file)
                if has_ended:
                    return self._outcome()
                time.sleep(POLL_SECONDS)

    def _read(self, file: IO[str]) -> Iterator[Progress]:
        """The progress in every whole line that is new; a line still being written waits."""
        while True:
            start = file.tell()
            line = file.readline()
            if not line.endswith("\n"):
                file.seek(start)
                return
            event = json.loads(line)
            if event.pop("type", "") == "progress":
                yield Progress.from_dict(event)
            else:
                self._end = json.loads(line)

    def _obey(self, asked: Wish, file: IO[str]) -> Iterator[Progress]:
        """Stop the child as wished, and say so by raising; a result that came first counts."""
        if asked is Wish.FENCED:
            self.body.kill()
            raise Fenced
        patience = STOP_SECONDS if asked is Wish.CANCEL else DRAIN_SECONDS
        deadline = time.monotonic() + patience
        while self.body.poll() is None and time.monotonic() < deadline:
            # Asked again and again: until the engine listens, it does not hear.
            self.body.ask()
            yield from self._read(file)
            self.body.wait(1.0)
        self.body.kill()
        yield from self._read(file)
        if self._end is not None and self._end.get("type") == "outcome":
            return
        if asked is Wish.DRAIN:
            raise Drained
        if asked is Wish.PAUSE:
            raise Paused
        raise Cancelled

    def _outcome(self) -> Outcome:
        if self._end is None:
            raise self._silent_death()
        end = dict(self._end)
        if end.pop("type") == "outcome":
            return Outcome.from_dict(end)
        raise told_error(end)

    def _silent_death(self) -> Exception:
        """Why a child ended without a word: memory, a full disk, a signal, or a crash."""
        words = self.words()
        if self.body.ran_out_of_memory():
            return InternalError(
                "memory.full",
                "The machine ran out of memory and ended the run. Choose a smaller batch size "
                "or close other work, then run it again: it goes on from its last checkpoint.",
            )
        known = recognised(words)
        if known is not None:
            return known
        if by := self.body.ended_by(words):
            return Lost(f"The training process was ended from outside ({by})")
        code = self.body.poll()
        return InternalError(
            "run.crashed",
            f"The training process ended with code {code} and without a word of its own. "
            f"Its last lines:\n{words[-1500:]}",
            exit_code=code,
        )

    def words(self) -> str:
        """The last lines that the child wrote to its own log."""
        with contextlib.suppress(OSError):
            return self.log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:]
        return ""


def told_error(event: Mapping[str, Any]) -> EngineError:
    """The error that the child reported, with its own code, words and facts."""
    kind = InputError if event.get("fault") == "input" else InternalError
    facts = {str(k): v for k, v in dict(event.get("facts") or {}).items()}
    facts.pop("code", None)
    facts.pop("message", None)
    return kind(str(event["code"]), str(event.get("message", "")), **facts)


def recognised(words: str) -> EngineError | None:
    """An error that a traceback names although the engine could not report it itself."""
    if "No space left on device" in words:
        return InputError(
            "disk.full",
            "The disk is full. Free some space, then run it again: "
            "it goes on from its last checkpoint.",
        )
    if re.search(
        r"out of memory|MemoryError|DefaultCPUAllocator: can't allocate", words, re.IGNORECASE
    ):
        return InternalError(
            "memory.full",
            "There was not enough memory. Choose a smaller batch size, then run it again: "
            "it goes on from its last checkpoint.",
        )
    return None
