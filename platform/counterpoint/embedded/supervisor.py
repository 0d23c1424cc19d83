"""Owns the engines of one home folder: makes them, starts them, restarts them, stops them in order.

Runs in a process of its own, in the main thread, so that the kernel ends the engines with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import psycopg
import redis

from calm_engine.errors import InputError
from counterpoint.embedded import binaries, provision
from counterpoint.embedded.children import (
    Engine,
    Identity,
    die_with_parent,
    die_with_parent_fast,
    held_port,
)

SUPERUSER = "platform_owner"
POSTGRES, VALKEY = "postgres", "valkey"
WATCH_SECONDS = 0.2
SHARED_STATE = Path("/var/lib/counterpoint")  # for root, when the home folder is closed to others


@dataclass
class Wish:
    """What was asked for: where state lives, ports (any free one by default), server settings.

    only   the engines that are wanted; another one stands elsewhere
    """

    home: Path
    postgres_port: int | None = None
    valkey_port: int | None = None
    postgres_options: list[str] = field(default_factory=list)
    only: tuple[str, ...] = (POSTGRES, VALKEY)


@contextmanager
def owned(home: Path) -> Iterator[None]:
    """Hold the one lock of this home folder. Raises InputError("engines.owned").

    The kernel lets go of it with our death, so no stale lock ever needs a hand.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "engines.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InputError(
                "engines.owned",
                f"The engines of {home} already run, owned by process {lock.read().strip()}. "
                "Use those, stop that process, or set COUNTERPOINT_HOME to another folder.",
                home=str(home),
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class Supervisor:
    """The engines of one home folder, while the lock is held."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.home = wish.home
        self.identity = binaries.identity()
        self.state = state_folder(self.home, self.identity)
        self.programs = binaries.reachable(binaries.installed(), self.identity, self.state)
        self.passwords = kept_passwords(self.home / "engine-passwords.json")
        liked = last_ports(self.home)
        # Held until the engines listen there: whoever starts beside us takes other ones.
        self.holders = [
            held_port(wish.postgres_port, liked=liked.get("postgres")),
            held_port(wish.valkey_port, liked=liked.get("valkey")),
        ]
        self.postgres_port, self.valkey_port = (one.getsockname()[1] for one in self.holders)
        self.logs = self.home / "logs"
        self.logs.mkdir(exist_ok=True, mode=0o700)
        self.postgres = self._postgres()
        self.valkey = self._valkey()

    # ---- what runs ----

    def _postgres(self) -> Engine:
        data = self.state / "postgres"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.postgres_port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "password_encryption": "scram-sha-256",
        } | dict(option.split("=", 1) for option in self.wish.postgres_options)
        chosen = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Engine(
            name="PostgreSQL",
            command=[self.programs.postgres("postgres"), "-D", str(data), *chosen],
            identity=self.identity,
            log=self.logs / "postgres.log",
            ready=self._postgres_answers,
            before_start=lambda: clear_stale_pid(data),
            on_parent_death=die_with_parent_fast,
            stop_signal=signal.SIGINT,  # fast: ends sessions, needs no recovery
        )

    def _valkey(self) -> Engine:
        folder = self.state / "valkey"
        folder.mkdir(exist_ok=True, mode=0o700)
        self.identity.own(folder)
        config = self.state / "valkey.conf"
        # In a file, since arguments can be read in the process list.
        write_private(
            config,
            f"bind 127.0.0.1\nport {self.valkey_port}\nrequirepass {self.passwords['valkey']}\n"
            f'dir "{folder}"\nappendonly yes\nappendfsync everysec\n'
            'maxmemory-policy noeviction\nsave ""\n',
        )
        self.identity.own(config)
        return Engine(
            name="Valkey",
            command=[str(self.programs.valkey), str(config)],
            identity=self.identity,
            log=self.logs / "valkey.log",
            ready=self._valkey_answers,
            before_start=lambda: None,
            on_parent_death=die_with_parent,
            stop_signal=signal.SIGTERM,
        )

    def address(self, role: str, database: str = provision.DATABASE) -> str:
        secret = quote(self.passwords[role], safe="")
        return f"postgres://{role}:{secret}@127.0.0.1:{self.postgres_port}/{database}"

    @property
    def redis_url(self) -> str:
        return f"redis://:{quote(self.passwords['valkey'], safe='')}@127.0.0.1:{self.valkey_port}/0"

    def _postgres_answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.address(SUPERUSER, "postgres"), connect_timeout=2).close()
            return True
        return False

    def _valkey_answers(self) -> bool:
        with suppress(redis.RedisError), redis.Redis.from_url(self.redis_url) as client:
            return bool(client.ping())
        return False

    # ---- its life ----

    def start(self) -> None:
        """The engines ready, roles and database made, `connection.json` written."""
        connection: dict[str, object] = {"owner": os.getpid()}
        if POSTGRES in self.wish.only:
            self.make_cluster()
            self.postgres.start()
            self.postgres.wait_until_ready()
            provision.provision(self.address(SUPERUSER, "postgres"), self.passwords)
            connection["database_url"] = self.address(provision.RUNTIME)
            connection["database_owner_url"] = self.address(provision.OWNER)
        if VALKEY in self.wish.only:
            self.valkey.start()
            self.valkey.wait_until_ready()
            connection["redis_url"] = self.redis_url
        for holder in self.holders:
            holder.close()
        ports = {POSTGRES: self.postgres_port, VALKEY: self.valkey_port}
        (self.home / "engine-ports.json").write_text(json.dumps(ports))
        told = json.dumps(connection | {"ports": ports}, indent=2)
        write_private(self.home / "connection.json", told)

    def make_cluster(self) -> None:
        """initdb, aside and then renamed: a killed attempt leaves nothing that looks finished."""
        data = self.state / "postgres"
        if data.exists():
            return
        aside, secret = self.state / "postgres.new", self.state / "superuser"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        write_private(secret, self.passwords[SUPERUSER])
        self.identity.own(aside)
        self.identity.own(secret)
        try:
            done = subprocess.run(  # type: ignore[call-overload]  # keywords by identity  # noqa: S603
                [
                    self.programs.postgres("initdb"),
                    *("-D", str(aside), "-U", SUPERUSER, f"--pwfile={secret}"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
                    "--data-checksums",
                ],
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                capture_output=True,
                text=True,
                check=False,
                **self.identity.popen(),
            )
        finally:
            secret.unlink()
        if done.returncode != 0:
            raise InputError("engines.start", f"initdb failed:\n{done.stderr.strip()[-800:]}")
        aside.rename(data)

    def watch(self, asked: Asked) -> None:
        """Keep them running until asked to stop."""
        engines = {POSTGRES: self.postgres, VALKEY: self.valkey}
        while not asked.wait(WATCH_SECONDS):
            for engine in (engines[name] for name in self.wish.only):
                if engine.revive():
                    # PostgreSQL may refuse while old backends leave: it ends, and we come back.
                    with suppress(InputError):
                        engine.wait_until_ready()
                        engine.deaths = 0

    def stop(self) -> None:
        """Valkey first, which wakes nobody any more; PostgreSQL last. Nobody attaches any more."""
        (self.home / "connection.json").unlink(missing_ok=True)
        self.valkey.stop()
        self.postgres.stop()


class Asked:
    """Whether we are asked to stop: by a signal, or by the end of the parent at our input."""

    def __init__(self, *, parent_holds_input: bool) -> None:
        self.stopping = False
        self.parent_holds_input = parent_holds_input
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def wait(self, seconds: float) -> bool:
        if not self.parent_holds_input:
            deadline = time.monotonic() + seconds
            while not self.stopping and time.monotonic() < deadline:
                time.sleep(0.05)
            return self.stopping
        readable, _, _ = select.select([0], [], [], seconds)
        # Our input never carries anything: readable means closed, and the parent is gone.
        return self.stopping or bool(readable)


def state_folder(home: Path, identity: Identity) -> Path:
    """Where the engines' own files lie: in the home folder, if the engines' account can get there.

    Root's home is often closed to others. Opening it would be wrong, so then they lie in the
    system's state folder, and the home folder remembers the place.
    """
    place = home / "engines"
    if identity.may_pass(home):
        place.mkdir(exist_ok=True, mode=0o711)
        return place
    pointer = home / "engines-elsewhere"
    if not pointer.exists():
        pointer.write_text(secrets.token_hex(6))
    place = SHARED_STATE / pointer.read_text().strip()
    place.mkdir(parents=True, exist_ok=True, mode=0o711)
    return place


def kept_passwords(path: Path) -> dict[str, str]:
    """Passwords of the engines' logins, random, made once and readable by us alone."""
    if not path.exists():
        names = (SUPERUSER, provision.OWNER, provision.RUNTIME, provision.BACKUP, "valkey")
        write_private(path, json.dumps({name: secrets.token_urlsafe(24) for name in names}))
    found: dict[str, str] = json.loads(path.read_text())
    return found


def last_ports(home: Path) -> dict[str, int]:
    """The ports of the last time, which are taken again when they are free."""
    with suppress(OSError, ValueError):
        found: dict[str, int] = json.loads((home / "engine-ports.json").read_text())
        return found
    return {}


def write_private(path: Path, text: str) -> None:
    """Write aside and rename: nobody else ever reads it, and nobody reads half of it."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    aside.touch(mode=0o600)
    aside.write_text(text)
    aside.rename(path)


def clear_stale_pid(data: Path) -> None:
    """Remove a pid file whose process is gone, unreaped or not a PostgreSQL, else wait for its end.

    After our own sudden death the old server still shuts down for a moment.
    """
    pid_file = data / "postmaster.pid"
    deadline = time.monotonic() + 15
    while pid_file.exists() and time.monotonic() < deadline:
        with suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(pid_file.read_text().split()[0])
            if not is_live_postgres(pid):
                pid_file.unlink()
                return
        time.sleep(0.1)


def is_live_postgres(pid: int) -> bool:
    """Whether this process runs, is no zombie and is called `postgres`."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition(" (")[2].rpartition(") ")
    except OSError:
        return False
    return name == "postgres" and not rest.startswith(("Z", "X"))
