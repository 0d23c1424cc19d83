"""The engines for the length of a `with` block. Runs the supervisor as a child; knows no engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from calm_engine.errors import InputError
from counterpoint.embedded.__main__ import READY

STOP_SECONDS = 40.0
PLATFORM = Path(__file__).resolve().parents[2]


class Engines:
    """PostgreSQL and Valkey of one home folder, owned by this process while the block is open.

    home               where their state lives; kept afterwards
    ports              any free ones by default. Raises InputError("port.taken")
    postgres_options   server settings, such as {"fsync": "off"} for tests alone
    only               "postgres", "valkey": the engines that are wanted; both by default
    Raises InputError("engines.owned") when another process owns this folder's engines.
    """

    def __init__(
        self,
        home: Path,
        *,
        postgres_port: int | None = None,
        valkey_port: int | None = None,
        postgres_options: Mapping[str, str] | None = None,
        only: Sequence[str] = (),
    ) -> None:
        self.home = home
        self.command = [sys.executable, "-m", "counterpoint.embedded", "--with-parent"]
        self.command += ["--home", str(home)]
        self.command += ["--postgres-port", str(postgres_port)] if postgres_port else []
        self.command += ["--valkey-port", str(valkey_port)] if valkey_port else []
        for name, value in (postgres_options or {}).items():
            self.command += ["--postgres-option", f"{name}={value}"]
        for name in only:
            self.command += ["--only", name]
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Engines:
        before = os.environ.get("PYTHONPATH")
        roots = [str(PLATFORM.parent), str(PLATFORM), *([before] if before else [])]
        self.process = subprocess.Popen(  # noqa: S603  our own module
            self.command,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(roots)},
            stdin=subprocess.PIPE,  # its end tells the child that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches us; we stop it last
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != READY:
            _, told = self.process.communicate()
            code, _, words = told.strip().partition(": ")
            known = "." in code and " " not in code
            raise InputError(code if known else "engines.start", words if known else told.strip())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()  # the kernel ends the engines with it
            self.process.communicate()

    @property
    def connection(self) -> dict[str, Any]:
        """The addresses, as `connection.json` has them."""
        found: dict[str, Any] = json.loads((self.home / "connection.json").read_text())
        return found

    def environment(self) -> dict[str, str]:
        """The settings that point a process of ours at these engines."""
        told = self.connection
        return {
            "COUNTERPOINT_HOME": str(self.home),
            "DATABASE_URL": told["database_url"],
            "DATABASE_OWNER_URL": told["database_owner_url"],
            "REDIS_URL": told["redis_url"],
        }
