"""The model host: keeps one model server for each live composition and for the embedder in use.

Keeps the Placement rows true as well.

`python -m workers.hosting`. Compositions of a tenant on one anchor share a server. A new version is
started before the old one stops; a server that dies or falls silent is started again with growing
pauses. Where there is no room for all, who is asked least sleeps until somebody asks.

Knows no model and no torch: the server is a child, `calm serve`, on this machine's loopback or, in
a cluster, at the pod's own address. Children are started from the main thread, since Linux would
end them with any other.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connections
from django.utils.translation import gettext as _

from apps.registry import placements
from apps.registry.models import Placement
from apps.runs import sharing
from apps.runs.execution import DATABASE_AWAY
from calm_engine.errors import EngineError
from counterpoint import alive, env
from workers import devices
from workers.processes import cores
from workers.seats import Seat, least_used
from workers.servers import Engine, Server, Where, needs_of, needs_of_anchor

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
SILENT_TICKS = 15  # a ready server that misses so many is started again
START_SECONDS = 600.0  # loading large weights from a slow disk
LONGEST_PAUSE = 30.0
SETTLE_SECONDS = 3.0  # between two that are put to sleep
RENEW_SECONDS = 5.0  # between two looks at who has the device


class Host:
    """All model servers of this machine. One `tick` looks, acts and writes down what is so.

    memory   bytes that they may hold together; 0: what the device has free
    slot     the device that they share with training (`apps.runs.sharing`)
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int,
        secret: Path,
        logs: Path,
        where: Where | None = None,
        engine: Engine | None = None,
        memory: int = 0,
        slot: str = "",
    ) -> None:
        self.name = name
        self.slot = slot or devices.slot_name()
        self._renewed = -RENEW_SECONDS
        self._holds = False
        self._settles = 0.0  # until when memory that was given back may not show yet
        self.where = where or Where()
        self.engine = engine or Engine()
        self.memory = memory
        self.threads = threads
        self.secret = secret
        self.logs = logs
        self.seats: dict[UUID, Seat] = {}

    @property
    def servers(self) -> list[Server]:
        found = (seat.server for seat in self.seats.values())
        return list({id(one): one for one in found if one is not None}.values())

    def tick(self) -> None:
        wanted = {each.row_id: each for each in placements.wanted(self.name)}
        for row_id, seat in self.seats.items():
            seat.is_wanted = row_id in wanted
            seat.wanted = wanted.get(row_id, seat.wanted)
        for row_id, each in wanted.items():
            self.seats.setdefault(row_id, Seat(each))
        self._share()
        for server in self.servers:
            self._look(server)
        # Whoever is kept warm comes first, then whoever is asked for.
        for seat in sorted(self.seats.values(), key=_rank):
            self._keep(seat)
        self._retire()
        for seat in self.seats.values():
            self._tell(seat)

    # -- the device --------------------------------------------------------------------------------

    def _share(self) -> None:
        """Renew chat's lease of the device, or let go of it when a training goes first."""
        working = self.servers
        if self._holds and not working:
            self._let_go()
        if not working or time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        self._renewed = time.monotonic()
        reason = sharing.why_serving_leaves(self.slot)
        reason = reason or sharing.take_for_serving(self.slot, self._held())
        if reason:
            self._rest(working, reason)

    def _rest(self, working: list[Server], reason: str) -> None:
        """Tell it first, so that nobody asks anew; then let each server finish, and end it."""
        log.info("host.rests", slot=self.slot, reason=reason)
        served = [seat for seat in self.seats.values() if seat.server is not None]
        for seat in served:
            seat.is_resting, seat.reason = True, reason
            placements.write(self.name, seat.wanted, Placement.State.RESTING, reason=reason)
        for server in working:
            server.stop()
        for seat in served:
            seat.clear()
        self._let_go()

    def _let_go(self) -> None:
        sharing.let_go_of_serving(self.slot)
        self._holds = False

    def _held(self) -> int:
        """Bytes of the device that all servers hold; one that still loads will hold its weights."""
        return sum(max(self._measured(one), self._coming(one)) for one in self.servers)

    def _coming(self, server: Server) -> int:
        """Bytes that a server will hold at least, while one of its models still loads."""
        mine = [seat for seat in self.seats.values() if seat.server is server]
        return 0 if all(seat.is_ready for seat in mine) else server.needs()

    def _measured(self, server: Server) -> int:
        return devices.held_by([server.process.pid]) if server.process else 0

    def _room(self) -> int:
        """Bytes that one more model may take."""
        held = self._held()
        free = devices.free() - (held - sum(map(self._measured, self.servers)))
        return min(free, self.memory - held) if self.memory else free

    def _may_start(self, seat: Seat, needs: int) -> bool:
        """Take the device for one more model; when it is refused, say so and try again later."""
        refused = sharing.take_for_serving(self.slot, self._held(), more=needs)
        seat.is_resting = bool(refused)
        if refused:
            seat.reason = refused
            seat.not_before = time.monotonic() + RENEW_SECONDS
            return False
        self._holds = True
        return True

    def _has_room(self, seat: Seat, needs: int) -> bool:
        """Whether a model fits now; if not, it sleeps, or another one does that is used less."""
        if self._room() >= needs:
            return True
        if seat.is_resting:  # it comes back by itself
            return False
        before = any(
            other.is_ready and not other.is_wanted and other.wanted.line == seat.wanted.line
            for other in self.seats.values()
        )
        is_called = seat.wanted.is_warm or seat.wanted.is_asked or before
        seat.is_asleep = not (seat.wanted.is_warm or before)
        seat.reason = _("There is no room for it on this host.")
        if not is_called or time.monotonic() < self._settles:
            return False
        other = least_used(self.seats.values(), beside=seat)
        if other is not None:
            self._put_to_sleep(other)
        return False

    def _put_to_sleep(self, seat: Seat) -> None:
        log.info("model.sleeps", model=str(seat.wanted.row_id))
        seat.is_asleep, seat.reason = True, _("Another model needs its room. A question wakes it.")
        # Told first, so that nobody asks anew.
        placements.write(self.name, seat.wanted, Placement.State.ASLEEP, reason=seat.reason)
        self._leave(seat)
        self._settles = time.monotonic() + SETTLE_SECONDS

    # -- servers -----------------------------------------------------------------------------------

    def _look(self, server: Server) -> None:
        """Notice what has died, has become ready, has failed or has fallen silent."""
        mine = [seat for seat in self.seats.values() if seat.server is server]
        if server.has_died():
            return self._lose(
                server, mine, f"The model server ended. {server.last_words()}".strip()
            )
        told = server.told()
        if told is None:
            return self._count_silence(server, mine)
        server.silent, server.is_up = 0, True
        for seat in mine:
            seat.told = told.get(seat.wanted.row_id)
            if seat.told is not None and seat.told.state == "failed":
                reason = seat.told.reason
                self._leave(seat)
                self._count_death(seat, reason)
            elif seat.is_ready:
                seat.reason = ""
                if time.monotonic() - seat.placed > LONGEST_PAUSE:
                    seat.deaths = 0  # it has lived long enough to be trusted again
        return None

    def _count_silence(self, server: Server, mine: list[Seat]) -> None:
        server.silent += 1
        is_ready = any(seat.is_ready for seat in mine)
        is_late = time.monotonic() - server.started > START_SECONDS
        if (is_ready and server.silent >= SILENT_TICKS) or (not is_ready and is_late):
            self._lose(server, mine, "The model server stopped answering.")

    def _lose(self, server: Server, mine: list[Seat], reason: str) -> None:
        server.stop()
        for seat in mine:
            seat.clear()
            self._count_death(seat, reason)

    def _count_death(self, seat: Seat, reason: str) -> None:
        """It has no server any more, and is started again with growing pauses."""
        log.warning("server.died", model=str(seat.wanted.row_id), reason=reason)
        seat.deaths += 1
        seat.reason = reason
        # The first restart is at once: one crash should cost seconds.
        pause = 0.0 if seat.deaths == 1 else min(2.0 ** (seat.deaths - 1), LONGEST_PAUSE)
        seat.not_before = time.monotonic() + pause

    def _leave(self, seat: Seat) -> None:
        server = seat.server
        seat.clear()
        if server is not None:
            server.drop(seat.wanted)

    def _keep(self, seat: Seat) -> None:
        """Give a model a server: one that has its anchor, or else one of its own."""
        if seat.server is not None or not seat.is_wanted or time.monotonic() < seat.not_before:
            return
        if seat.is_asleep and not (seat.wanted.is_asked or seat.wanted.is_warm):
            return
        server = self._with_anchor_of(seat)
        if server is not None and not server.is_up:
            return  # it will take this one on when it answers
        needs = needs_of(seat.wanted) + (0 if server else needs_of_anchor(seat.wanted))
        if not (self._has_room(seat, needs) and self._may_start(seat, needs)):
            return
        if server is None:
            log_file = self.logs / f"model-{seat.wanted.row_id}.log"
            server = Server(seat.wanted, log_file, self.where, self.engine)
            server.start(self.threads, self.secret)
        elif not server.add(seat.wanted):
            return  # it has just gone silent, and is looked after
        seat.server, seat.placed, seat.is_asleep = server, time.monotonic(), False

    def _with_anchor_of(self, seat: Seat) -> Server | None:
        """A server whose anchor this model may share, if none who killed one sits there."""
        if not seat.is_tame:
            return None
        for server in self.servers:
            others = (one for one in self.seats.values() if one.server is server)
            if server.has_anchor_of(seat.wanted) and all(one.is_tame for one in others):
                return server
        return None

    def _retire(self) -> None:
        """Stop what is no longer wanted, but not before its successor answers."""
        for row_id, seat in list(self.seats.items()):
            if seat.is_wanted:
                continue
            successors = [
                other
                for other in self.seats.values()
                if other.is_wanted and other.wanted.line == seat.wanted.line
            ]
            is_waiting = any(not successor.is_ready for successor in successors)
            if is_waiting and seat.is_ready and placements.is_allowed(seat.wanted):
                continue
            placements.write(self.name, seat.wanted, Placement.State.STOPPING)
            self._leave(seat)
            placements.forget(self.name, seat.wanted)
            del self.seats[row_id]

    def _tell(self, seat: Seat) -> None:
        """Write the placement; a ready one again and again, because silence is not ready."""
        state, address = Placement.State.STARTING, ""
        if seat.is_resting:
            state = Placement.State.RESTING
        elif seat.is_ready and seat.server is not None:
            state, address = Placement.State.READY, seat.server.address_of(seat.wanted)
        elif seat.is_asleep:
            state = Placement.State.ASLEEP
        elif seat.deaths > 1:  # once may be chance; it is tried again all the same
            state = Placement.State.FAILED
        how: dict[str, Any] = {"address": address, "reason": seat.reason, "load": seat.load}
        placements.write(self.name, seat.wanted, state, **how)

    def stop(self) -> None:
        for server in self.servers:
            server.stop()
        with contextlib.suppress(*DATABASE_AWAY):  # a lease that nobody renews says the same
            self._let_go()
        for seat in self.seats.values():
            with contextlib.suppress(*DATABASE_AWAY):  # gone before us: silence says the same
                placements.forget(self.name, seat.wanted)
        self.seats.clear()


def _rank(seat: Seat) -> tuple[bool, bool]:
    return not seat.wanted.is_warm, not seat.wanted.is_asked


def main() -> int:
    """Tick until SIGTERM or SIGINT; then stop every server and leave no placement behind."""
    stopping = threading.Event()

    def leave(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    host = Host(
        env.text("COUNTERPOINT_HOST_NAME", socket.gethostname()),
        # One core is the site's: threads that sum up together all wait for one that has none.
        threads=env.number("COUNTERPOINT_SERVE_THREADS", max(1, cores() - 1), least=1),
        secret=env.internal_secret(),
        logs=Path(settings.HOME) / "logs",
        where=Where(
            env.text("COUNTERPOINT_HOST_ADDRESS", "127.0.0.1"), env.ports("COUNTERPOINT_HOST_PORTS")
        ),
        engine=Engine(
            env.text("COUNTERPOINT_HOST_ENGINE", "torch", among=("torch", "vllm")),
            env.number("COUNTERPOINT_HOST_CACHE_GB", 0),
            env.text("COUNTERPOINT_HOST_PYTHON", sys.executable),
        ),
        memory=env.number("COUNTERPOINT_HOST_MEMORY_GB", 0) * 2**30,
    )
    alive.keep(settings.ALIVE_FILE)
    has_begun = False
    while not stopping.is_set():
        try:
            if not has_begun:
                placements.begin(host.name)
                has_begun = True
            host.tick()
        except DATABASE_AWAY:
            log.warning("host.database_away")  # the servers go on serving
        except EngineError as error:
            log.error("host.tick", code=error.code, error=str(error))  # noqa: TRY400  expected kinds
        connections.close_all()
        stopping.wait(TICK_SECONDS)
    host.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
