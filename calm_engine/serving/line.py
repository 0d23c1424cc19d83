"""The line of requests before a model, and the one thread that answers them.

Knows no HTTP, no tensors and no engine: `batching` plays with torch, `vllm.batching` with vLLM,
`embedding` makes vectors. Whoever asks gets what comes through a callback.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from calm_engine.errors import EngineError, InputError, InternalError
from calm_engine.generation import Sampling
from calm_engine.serving.metrics import Meters

if TYPE_CHECKING:
    from calm_engine.grammar import Held


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model ready to answer.

    model        takes `input_ids, past_key_values, use_cache, gate, logits_to_keep` and makes its
                 cache by `new_cache()`, as CalmForCausalLM does
    fingerprint  names the weights
    """

    model: Any
    tokenizer: Any
    fingerprint: str = ""

    @property
    def limit(self) -> int:
        """Tokens that prompt and answer may have together."""
        return int(self.model.config.max_position_embeddings)

    @property
    def vocabulary(self) -> int:
        return int(self.model.config.vocab_size)


@dataclass(eq=False, kw_only=True)
class Request:
    """One request on its way. `cancel` may be called from any thread.

    deliver     called on the model thread with what comes, and with an error in place of the last
    caller      who asks, as far as the asker says; the less of somebody is under way, the sooner it
                is their turn
    model       which of the line's models is asked, where there are several
    """

    deliver: Callable[[Any], None]
    caller: str = ""
    model: str = ""
    asked: float = field(default_factory=time.monotonic)
    cancelled: bool = False

    def cancel(self) -> None:
        """Leave before the next step; nothing more is delivered."""
        self.cancelled = True


@dataclass(eq=False)
class Ticket(Request):
    """One answer on its way through the batch: `deliver` gets each `Piece`.

    prompt      token ids, at least one
    is_judged   the last piece tells what the parts of the composition did to each token
    held        what the answer is held to; None: it may say anything
    """

    prompt: tuple[int, ...]
    sampling: Sampling
    is_judged: bool = False
    held: Held | None = None


R = TypeVar("R", bound=Request)
M = TypeVar("M")


class Line(ABC, Generic[R, M]):
    """One model thread, requests (R) that wait for it, its model (M), and what is known of these.

    rows       answers under way at once
    queue      requests that may wait beyond those; of one caller who is told, half as many
    on_change  called when it became ready or failed, on the thread that noticed
    """

    can_judge = True  # whether an answer's influence can be told

    def __init__(
        self,
        *,
        rows: int = 16,
        queue: int = 64,
        meters: Meters | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._most, self._queue = rows, queue
        self._on_change = on_change
        self.meters = meters or Meters()
        self.loaded: M | None = None
        self.failure: Exception | None = None
        self._work = threading.Condition()
        self._waiting: deque[R] = deque()
        self._busy: Counter[str] = Counter()  # requests under way, by model; replaced, not changed
        self._is_draining = self._is_stopping = False
        self._thread = threading.Thread(target=self._main, name="model", daemon=True)

    # -- from any thread ---------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    @property
    def state(self) -> str:
        """One of loading, ready, draining, failed."""
        if self.failure is not None:
            return "failed"
        if self._is_draining:
            return "draining"
        return "loading" if self.loaded is None else "ready"

    def absence(self) -> EngineError:
        """Why nothing can be asked now."""
        return InputError(f"server.{self.state}")

    def submit(self, ticket: R) -> None:
        """Queue a request. Raises InputError "server.loading", "server.draining", "server.busy"."""
        with self._work:
            if self.state != "ready":
                raise self.absence()
            if self.is_leaving(ticket.model):
                raise InputError("server.draining")
            if len(self._waiting) >= self._share_of(ticket.caller):
                raise InputError("server.busy")
            self._waiting.append(ticket)
            self.meters.waiting.set(len(self._waiting))
            self._work.notify()

    @property
    def places(self) -> int:
        """Answers that may be under way at once."""
        return self._most

    def asked_of(self, model: str) -> int:
        """Requests for one of the models that are under way or wait."""
        with self._work:
            waiting = sum(one.model == model for one in self._waiting)
        return self._busy[model] + waiting

    def is_leaving(self, key: str) -> bool:  # noqa: ARG002  where models stay as long as the process
        """Whether one of the models takes no more requests."""
        return False

    def most_tokens(self, key: str, *, bare: bool) -> int | None:  # noqa: ARG002  likewise
        """Tokens of one answer that memory holds; None: as many as the model reads."""
        return None

    def _share_of(self, caller: str) -> int:
        """How long the line may be for this caller: nobody fills it who is known by name."""
        mine = sum(one.caller == caller for one in self._waiting) if caller else 0
        return 0 if mine and mine >= self._queue // 2 else self._queue

    def drain(self) -> None:
        """Take no more requests; those that were taken are finished."""
        with self._work:
            self._is_draining = True

    def stop(self, *, wait: float = 10.0) -> None:
        """End the thread after its present step; whoever still waits is told."""
        with self._work:
            self._is_draining = self._is_stopping = True
            self._work.notify()
        self._thread.join(wait)

    # -- on the model thread -----------------------------------------------------------------------

    def _main(self) -> None:
        """Whatever ends the thread is a failure: nobody may go on waiting for it."""
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001 a library may end "its" process from here
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """It answers nothing any more; the process that started us reports the first reason."""
        if self.failure is None:
            self.failure = error if isinstance(error, Exception) else InternalError("server.fault")
            self._on_change()

    def _run(self) -> None:
        self.loaded = self._open()
        self.meters.ready.set(1)
        self._on_change()
        try:
            while self._wait_for_work():
                self._turn(self.loaded)  # asked anew: models come and go
                current = self._current()
                self._busy = Counter(one.model for one in current)
                self.meters.running.set(len(current))
        except BaseException as error:  # noqa: BLE001 the engine is gone: said before all are told
            self.fail(error)
        self._give_up()
        self.meters.ready.set(0)

    @abstractmethod
    def _open(self) -> M:
        """Load the model and answer once, so that the first person does not wait for kernels."""

    @abstractmethod
    def _turn(self, loaded: M) -> None:
        """One turn: let go who left, take in who waits, take a step."""

    @abstractmethod
    def _current(self) -> list[R]:
        """The requests that have begun and not ended."""

    @abstractmethod
    def _begun(self) -> list[R]:
        """The requests that will not be finished, which are forgotten with this call."""

    def _has_news(self) -> bool:
        """Whether there is something to do besides requests."""
        return False

    def _wait_for_work(self) -> bool:
        with self._work:
            while not (self._is_stopping or self._waiting or self._current() or self._has_news()):
                self._work.wait()
            return not self._is_stopping

    def _forget_cancelled(self) -> None:
        """Tickets that were cancelled while they waited go."""
        with self._work:
            self._waiting = deque(ticket for ticket in self._waiting if not ticket.cancelled)
            self.meters.waiting.set(len(self._waiting))

    def _next(self, fits: Callable[[R], bool] = lambda _: True) -> R | None:
        """The first that waits of those callers of whom least is under way, out of the line.

        fits   whether there is room for it; else it stays first, and nobody passes it: a large
               request would wait for ever behind small ones
        """
        busy = Counter(one.caller for one in self._current())
        with self._work:
            if not self._waiting:
                return None
            ticket = min(self._waiting, key=lambda one: busy[one.caller])
            if not fits(ticket):
                return None
            self._waiting.remove(ticket)
            self.meters.waiting.set(len(self._waiting))
        return ticket

    def _give_up(self) -> None:
        """Tell everyone whose answer will not be finished."""
        begun = self._begun()
        with self._work:
            tickets = [*begun, *self._waiting]
            self._waiting.clear()
        for ticket in tickets:
            ticket.deliver(InputError("server.draining"))


def fault(error: Exception) -> EngineError:
    """What the asker is told; the log has the cause."""
    if isinstance(error, EngineError):
        return error
    return InternalError("server.memory" if isinstance(error, MemoryError) else "server.fault")
