"""The model host: keeps one model server for each live composition and for the embedder in use.

Keeps the Placement rows true as well.

`python -m workers.hosting`. A new version is started before the old one stops; a server that dies
or falls silent is started again with growing pauses. Knows no model and no torch: the server is a
child, `calm serve`, on this machine's loopback or, in a cluster, at the pod's own address. Children
are started from the main thread, since Linux would end them with any other.
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
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connections

from apps.registry import placements
from apps.registry.models import Placement
from apps.registry.placements import Wanted
from apps.runs import sharing
from apps.runs.execution import DATABASE_AWAY
from calm_engine.errors import EngineError
from counterpoint import alive, env
from workers import devices
from workers.processes import cores
from workers.servers import Engine, Server, Where

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
SILENT_TICKS = 15  # a ready server that misses so many is started again
START_SECONDS = 600.0  # loading large weights from a slow disk
LONGEST_PAUSE = 30.0
RENEW_SECONDS = 5.0  # between two looks at who has the device


class Host:
    """All model servers of this machine. One `tick` looks, acts and writes down what is so.

    slot   the device that they share with training (`apps.runs.sharing`)
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
        slot: str = "",
    ) -> None:
        self.name = name
        self.slot = slot or devices.slot_name()
        self._renewed = -RENEW_SECONDS
        self._holds = False
        self.where = where or Where()
        self.engine = engine or Engine()
        self.threads = threads
        self.secret = secret
        self.logs = logs
        self.servers: dict[UUID, Server] = {}

    def tick(self) -> None:
        wanted = {each.row_id: each for each in placements.wanted()}
        for row_id, each in wanted.items():
            if row_id not in self.servers:
                log_file = self.logs / f"model-{row_id}.log"
                self.servers[row_id] = Server(each, log_file, self.where, self.engine)
        self._share()
        for server in self.servers.values():
            self._keep(server)
        self._retire(wanted)
        for server in self.servers.values():
            self._tell(server)

    def _share(self) -> None:
        """Renew chat's lease of the device, or let go of it when a training goes first."""
        working = [server for server in self.servers.values() if server.process is not None]
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
        for server in working:
            server.is_ready, server.reason = False, reason
            placements.write(self.name, server.wanted, Placement.State.RESTING, reason=reason)
        for server in working:
            server.stop()
            server.is_resting = True
        self._let_go()

    def _let_go(self) -> None:
        sharing.let_go_of_serving(self.slot)
        self._holds = False

    def _held(self) -> int:
        """Bytes of the device that all servers hold; one that still loads will hold its weights."""
        found = 0
        for server in self.servers.values():
            if server.process is not None:
                measured = devices.held_by([server.process.pid])
                found += measured if server.is_ready else max(measured, server.needs())
        return found

    def _may_start(self, server: Server) -> bool:
        """Take the device for one more server; when it is refused, say so and try again later."""
        refused = sharing.take_for_serving(self.slot, self._held(), more=server.needs())
        server.is_resting = bool(refused)
        if refused:
            server.reason = refused
            server.not_before = time.monotonic() + RENEW_SECONDS
            return False
        self._holds = True
        return True

    def _keep(self, server: Server) -> None:
        """Start what does not run; notice what has died, has become ready or has fallen silent."""
        if server.has_died():
            self._count_death(server, f"The model server ended. {server.last_words()}".strip())
        if server.process is None:
            if time.monotonic() >= server.not_before and self._may_start(server):
                server.start(self.threads, self.secret)
            return
        if server.answers():
            server.is_ready, server.silent, server.reason = True, 0, ""
            if time.monotonic() - server.started > LONGEST_PAUSE:
                server.deaths = 0  # it has lived long enough to be trusted again
            return
        server.silent += 1
        is_late = time.monotonic() - server.started > START_SECONDS
        if (server.is_ready and server.silent >= SILENT_TICKS) or (not server.is_ready and is_late):
            self._count_death(server, "The model server stopped answering.")

    def _count_death(self, server: Server, reason: str) -> None:
        log.warning("server.died", model=str(server.wanted.row_id), reason=reason)
        server.stop()
        server.deaths += 1
        server.reason = reason
        # The first restart is at once: one crash should cost seconds.
        pause = 0.0 if server.deaths == 1 else min(2.0 ** (server.deaths - 1), LONGEST_PAUSE)
        server.not_before = time.monotonic() + pause

    def _retire(self, wanted: dict[UUID, Wanted]) -> None:
        """Stop what is no longer wanted, but not before its successor answers."""
        for row_id, server in list(self.servers.items()):
            if row_id in wanted:
                continue
            successors = [
                self.servers[each.row_id]
                for each in wanted.values()
                if each.line == server.wanted.line
            ]
            is_waiting = any(not successor.is_ready for successor in successors)
            if is_waiting and server.is_ready and placements.is_allowed(server.wanted):
                continue
            placements.write(self.name, server.wanted, Placement.State.STOPPING)
            server.stop()
            placements.forget(self.name, server.wanted)
            del self.servers[row_id]

    def _tell(self, server: Server) -> None:
        """Write the placement; a ready one again and again, because silence is not ready."""
        state, address = Placement.State.STARTING, ""
        if server.is_resting:
            state = Placement.State.RESTING
        elif server.is_ready:
            state, address = Placement.State.READY, server.address
        elif server.deaths > 1:  # once may be chance; it is tried again all the same
            state = Placement.State.FAILED
        placements.write(self.name, server.wanted, state, address=address, reason=server.reason)

    def stop(self) -> None:
        for server in self.servers.values():
            server.stop()
        with contextlib.suppress(*DATABASE_AWAY):  # a lease that nobody renews says the same
            self._let_go()
        for server in self.servers.values():
            with contextlib.suppress(*DATABASE_AWAY):  # gone before us: silence says the same
                placements.forget(self.name, server.wanted)
        self.servers.clear()


def main() -> int:
    """Tick until SIGTERM or SIGINT; then stop every server and leave no placement behind."""
    stopping = threading.Event()

    def leave(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    host = Host(
        env.text("COUNTERPOINT_HOST_NAME", socket.gethostname()),
        threads=env.number("COUNTERPOINT_SERVE_THREADS", cores(), least=1),
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
