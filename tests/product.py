"""The whole product in an empty home folder, started as `make up` starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "a long enough passphrase"


class Product:
    """The running product: its home folder, its address, and its commands.

    environment   where its engines are; by default it starts its own
    """

    def __init__(self, home: Path, environment: dict[str, str] | None = None) -> None:
        self.home = home
        roots = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
        urls = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")
        clean = {name: word for name, word in os.environ.items() if name not in urls}
        self.environment = (environment or clean) | {
            "COUNTERPOINT_HOME": str(home),
            "PYTHONPATH": roots,
            "CURATOR_PASSWORD": PASSWORD,
            "COUNTERPOINT_SERVE_THREADS": "1",
        }
        command = [sys.executable, "-m", "counterpoint.services", "--stay"]
        with (home / "services.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def address(self) -> str:
        """Where the site answers, once it does."""
        told = self.home / "site.json"
        deadline = time.monotonic() + PATIENCE
        while not told.exists():
            assert self.process.poll() is None, (self.home / "services.log").read_text()
            assert time.monotonic() < deadline, "the product did not start"
            time.sleep(0.2)
        return str(json.loads(told.read_text())["address"])

    def manage(self, *words: str) -> None:
        command = [sys.executable, str(ROOT / "manage.py"), *words]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def stop(self) -> int:
        os.kill(self.process.pid, signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def running(home: Path, environment: dict[str, str] | None = None) -> Iterator[Product]:
    """The product, ready; stopped at the end if the test did not."""
    product = Product(home, environment)
    try:
        product.address()
        yield product
    finally:
        if product.process.poll() is None:
            product.stop()
