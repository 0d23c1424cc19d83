"""Measures running an installation: memory of each process, the cold start of the web, and a backup
taken while people work, restored equal. Knows no page but those that it is told to ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from statistics import median, quantiles
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
from django.conf import settings
from psycopg import sql

from apps.corpora.models import Corpus, Document
from apps.demo.visitor import Visitor
from calm_engine.errors import InternalError
from calm_engine.figures import Figure
from counterpoint import env
from counterpoint.embedded.children import free_port
from counterpoint.operate import backup, processes
from counterpoint.storage import blobs

PROCESSES = {
    "uvicorn": "web",
    "short@": "worker short",
    "gpu@": "worker gpu",
    "beat": "timer",
    "workers.hosting": "model host, without a model",
    "postgres": "PostgreSQL, all of it",
    "valkey": "Valkey",
}
STARTS = 3
COLD_START = 5.0  # seconds
SLOWER = 1.3  # how much slower a page may be while a backup is taken
BATCH = 500  # rows
LINGER = 30.0  # seconds that a session may outlast its process


# ---- processes -----------------------------------------------------------------------------------


def memory(of: psutil.Process) -> Iterator[Figure]:
    """Private and proportional memory of each service's processes together."""
    found: dict[str, list[int]] = defaultdict(list)
    for process in of.children(recursive=True):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            name = next((told for word, told in PROCESSES.items() if word in words), "")
            if name:
                # Pages that several processes share count for each by its part of them.
                found[name].append(process.memory_full_info().pss)
    for name, sizes in sorted(found.items()):
        told = f"{name}: {len(sizes)} processes at rest"
        yield Figure("memory", sum(sizes) / 2**20, "MB", told)


def cold_start() -> Iterator[Figure]:
    """Seconds from starting one more web process to its first "ready"."""
    took = []
    for _ in range(STARTS):
        port = free_port(None, liked=18000)
        began = time.perf_counter()
        web = subprocess.Popen(processes.web("127.0.0.1", port), stderr=subprocess.DEVNULL)  # noqa: S603  our own command
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", web)
            took.append(time.perf_counter() - began)
        finally:
            web.terminate()
            web.wait()
    told = f"a web process until it is ready, median of {STARTS}"
    yield Figure("cold_start", median(took), "seconds", told, COLD_START)


def wait_for(address: str, web: subprocess.Popen[bytes]) -> None:
    while web.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(address, timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.02)
    raise InternalError("services.not_ready", "The web process ended before it was ready.")


# ---- backup and restore --------------------------------------------------------------------------


def fill(corpus: Corpus, count: int) -> None:
    """So many documents with an original and a text each, and no passages."""
    rows: list[Document] = []
    for number in range(count):
        text = f"Sheet {number}: {token_hex(400)}".encode()
        original = blobs().put("original", b"%PDF " + text)
        rows.append(
            Document(
                corpus=corpus,
                title=f"Sheet {number}",
                path=f"sheets/{number}.pdf",
                media_type="application/pdf",
                original_digest=original.digest,
                text_digest=blobs().put("text", text).digest,
                tokens=200,
            )
        )
        if len(rows) == BATCH or number == count - 1:
            Document.objects.bulk_create(rows)
            rows.clear()


@contextmanager
def people(*works: Callable[[threading.Event], None]) -> Iterator[None]:
    """While the body runs, people do these things. Raises what one of them met."""
    ending = threading.Event()
    with ThreadPoolExecutor(len(works)) as pool:
        going = [pool.submit(work, ending) for work in works]
        try:
            yield
        finally:
            ending.set()
    for one in going:
        one.result()


def pages(visitor: Visitor, addresses: list[str], until: Callable[[], bool]) -> list[float]:
    """Seconds of each page, asked one after another until something is so; at least 20."""
    took: list[float] = []
    while len(took) < 20 or not until():
        began = time.perf_counter()
        visitor.page(addresses[len(took) % len(addresses)])
        took.append(time.perf_counter() - began)
    return took


def beside(quiet: list[float], busy: list[float], told: str) -> Iterator[Figure]:
    """Pages during the backup beside pages without it; uploads and a chat go on in both."""
    against = f"{len(busy)} pages during {told}, beside {len(quiet)} before and after it"
    yield Figure("page_during_backup", median(busy) / median(quiet), "ratio", against, SLOWER)
    late = [quantiles(some, n=20)[-1] for some in (busy, quiet)]
    yield Figure("page_during_backup_p95", late[0] / late[1], "ratio", against)


def chats(states: list[str]) -> Figure:
    """How many answers of the chat did not come whole."""
    told = f"of {len(states)} chats meanwhile"
    return Figure("chats_cut", sum(one != "complete" for one in states), "answers", told, 0)


def command(*words: str, home: Path | None = None, **changed: str) -> subprocess.Popen[str]:
    """One `counterpoint` command in a process of its own."""
    place = {"COUNTERPOINT_HOME": str(home)} if home else {}
    return subprocess.Popen(  # noqa: S603  our own command
        [sys.executable, "-m", "counterpoint.operate", *words],
        env=os.environ | place | changed,
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(started: subprocess.Popen[str]) -> str:
    """What it said. Raises InternalError("bench.command")."""
    said, _ = started.communicate()
    if started.returncode != 0:
        raise InternalError("bench.command", f"A command ended with {started.returncode}.")
    return said


def restored(backups: Path, home: Path) -> Iterator[Figure]:
    """Restore the newest backup into an empty home and database; what differs is counted."""
    with empty_database() as urls:
        began = time.perf_counter()
        keys = {name: str(getattr(settings, name)) for name in ("AUDIT_KEY", "SITE_KEY")}
        finished(command("restore", "--newest-in", str(backups), home=home, **urls, **keys))
        took = time.perf_counter() - began
        seeing_all = urlsplit(backup.backup_login())
        place = urlsplit(urls["DATABASE_URL"]).path
        with psycopg.connect(seeing_all._replace(path=place).geturl()) as there:
            row = there.execute("SELECT count(*) FROM corpora_document").fetchone()
    here, back = (digests(each / "blobs") for each in (Path(settings.HOME), home))
    told = f"{len(back):,} files and {row[0] if row else 0:,} documents restored in {took:.0f} s"
    # Whatever was uploaded after the picture of the database was taken is here and not there.
    yield Figure("restored_other", sum(here.get(n) != d for n, d in back.items()), "files", told, 0)


@contextmanager
def empty_database() -> Iterator[dict[str, str]]:
    """A further database of the same server, and the addresses that name it."""
    owner = urlsplit(env.owner_url())
    runtime = json.loads((Path(settings.HOME) / "connection.json").read_text(encoding="utf-8"))
    name = f"bench_{token_hex(4)}"
    with psycopg.connect(owner._replace(path="/postgres").geturl(), autocommit=True) as maker:
        maker.execute(f'CREATE DATABASE "{name}"')
        yield {
            "DATABASE_OWNER_URL": owner._replace(path=f"/{name}").geturl(),
            "DATABASE_URL": urlsplit(runtime["database_url"])._replace(path=f"/{name}").geturl(),
            "REDIS_URL": runtime["redis_url"],
        }
        drop(maker, name)


def drop(maker: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    """The owner may end nobody else's sessions: those of processes that are gone end by themselves.

    Raises psycopg.errors.ObjectInUse when somebody stays.
    """
    deadline = time.monotonic() + LINGER
    while True:
        try:
            maker.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in visible(folder.rglob("*"))
    }


def visible(paths: Iterable[Path]) -> Iterator[Path]:
    return (each for each in paths if each.is_file() and not each.name.startswith("."))
