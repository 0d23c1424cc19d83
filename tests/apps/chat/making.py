"""Models to ask, a real model server that answers, and the site that people reach over HTTP."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import uvicorn
from django.conf import settings
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.chat.models import Message
from apps.corpora.actions import create_corpus, grant
from apps.corpora.models import Corpus, Document, Passage, Snapshot
from apps.registry import artifacts
from apps.registry.models import Alias, Anchor, Composition, Embedder, ModelHost, Placement
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from counterpoint.env import internal_secret
from counterpoint.storage import blobs
from tests.cast import BACKEND, Cast
from tests.waiting import wait_until

MODEL = "handbook"
CONTEXT = 1500  # tokens, which are bytes here
LONG = "hello"  # the little model answers it for seconds, as any other question
ROOT = Path(settings.ROOT)
# Of `calm serve`, in `folders()`.
FLAGS = ("--composition", "composition", "--anchor", "anchor", "--augmenter", "augmenter")
FLAGS += ("--name", MODEL)
TOKEN = "t" * 32  # both halves of the double submit


# ---- the model server ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A running `calm serve`."""

    address: str
    process: subprocess.Popen[str]

    def count(self, outcome: str) -> float:
        """How many requests ended so: "stop", "length", "cancelled"."""
        return self._sum(f'"{outcome}"')

    def is_answering(self) -> bool:
        return self._sum("calm_running ") > 0

    def _sum(self, of: str) -> float:
        page = httpx.get(f"{self.address}/metrics", trust_env=False).text
        told = [line for line in page.splitlines() if not line.startswith("#")]
        lines = [line for line in told if of in line and "created" not in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def waits_for(self, outcome: str, count: float) -> bool:
        """Whether the server says so within some seconds."""
        return wait_until(lambda: self.count(outcome) >= count)


@cache
def folders() -> Path:
    """A tiny composition and its parents, random but lively: it writes noise, fast, without end."""
    from calm_engine.digests import write_manifest  # noqa: PLC0415  torch, for these tests alone
    from calm_engine.modeling import CalmForCausalLM  # noqa: PLC0415
    from tests.tiny import awaken, make_model, save_folder  # noqa: PLC0415

    root = Path(tempfile.mkdtemp(prefix="counterpoint-chat-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    anchor = make_model("llama", positions=CONTEXT, seed=1)
    augmenter = make_model("llama", width=32, heads=2, positions=CONTEXT, seed=2)
    for name, parent in (("anchor", anchor), ("augmenter", augmenter)):
        # Some other word is always likelier than nought: no answer ends by chance.
        parent.get_output_embeddings().weight.data[parent.config.eos_token_id] = 0.0
        save_folder(parent, root / name)
    model = awaken(CalmForCausalLM.compose(root / "anchor", [root / "augmenter"]))
    model.save_pretrained(root / "composition")
    write_manifest(root / "composition")
    return root


def start_server() -> Server:
    return started(*FLAGS, cwd=folders())


def started(*words: str, cwd: Path = ROOT) -> Server:
    """A model server of these words of `calm serve`, ready."""
    more = ["--threads", "1", "--port", "0", "--events", "--secret-file", str(internal_secret())]
    process = subprocess.Popen(
        [sys.executable, "-m", "calm_engine.cli", "serve", *words, *more],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)
        if told["type"] == "ready":
            return Server(told["address"], process)
    raise AssertionError("the model server ended before it was ready")


def stop_server(server: Server) -> None:
    server.process.kill()
    server.process.wait()
    if server.process.stdout is not None:
        server.process.stdout.close()


@cache
def model_server() -> Server:
    """One for all tests that do not end it."""
    server = start_server()
    atexit.register(stop_server, server)
    return server


# ---- rows ----------------------------------------------------------------------------------------


def make_model(
    tenant: Tenant,
    owner: User,
    *readers: User,
    name: str = MODEL,
    address: str = "",
    version: int = 1,
) -> Composition:
    """A live model that learned one corpus of this owner; served when there is an address."""
    with tenant_scope(tenant):
        corpus = Corpus.objects.filter(name=f"{name} papers").first()
        corpus = corpus or create_corpus(f"{name} papers", by=owner)
        for reader in readers:
            grant(corpus, reader, "read", by=owner)
        snapshot = Snapshot.objects.create(
            corpus=corpus,
            digest=uuid4().hex * 2,
            manifest={},
            documents=1,
            tokens=1,
            frozen_by=owner,
        )
        anchor, _ = Anchor.objects.get_or_create(digest="a" * 64, defaults={"name": "anchor"})
        composition = Composition.objects.create(
            name=name,
            version=version,
            digest=uuid4().hex * 2,
            anchor=anchor,
            snapshot=snapshot,
            run_id=uuid4(),
            closure=[corpus.pk],
        )
        Alias.objects.update_or_create(
            model=name, name=Alias.LIVE, defaults={"composition": composition}
        )
        if address:
            place(composition, address)
    return composition


def write(corpus: Corpus, title: str, *bodies: str) -> Document:
    """A ready document of these passages; called within the tenant's scope."""
    file = blobs().put("text", io.BytesIO("".join(bodies).encode()))
    document: Document = Document.objects.create(
        corpus=corpus,
        title=title,
        path=title,
        media_type="text/markdown",
        original_digest=file.digest,
        text_digest=file.digest,
    )
    at = 0
    for body in bodies:
        Passage.objects.create(
            corpus=corpus, document=document, page=1, start=at, end=at + len(body), body=body
        )
        at += len(body)
    return document


def place(model: Composition | Embedder, address: str, state: str = "ready") -> Placement:
    """Say that it is served there. No host renews that here: a slow test must not outlive it."""
    host, _ = ModelHost.objects.get_or_create(name="here")
    told = {"address": address, "state": state, "seen_at": timezone.now() + timedelta(hours=1)}
    placement, _ = Placement.objects.update_or_create(
        **{artifacts.KINDS[type(model)]: model}, host=host, defaults=told
    )
    return placement


# ---- the site ------------------------------------------------------------------------------------


@cache
def site() -> str:
    """The web door in this process: its address. The same settings and test database."""
    from counterpoint.asgi import application  # noqa: PLC0415  refuses before the engines are up

    config = uvicorn.Config(
        application, host="127.0.0.1", port=0, lifespan="off", ws="none", log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert wait_until(lambda: server.started)

    def end() -> None:
        server.should_exit = True
        thread.join(5)

    atexit.register(end)
    port = server.servers[0].sockets[0].getsockname()[1]
    return f"http://127.0.0.1:{port}"


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    id: str
    name: str
    data: dict[str, Any]


class Visitor:
    """A signed-in person's browser, without script of its own."""

    def __init__(self, user: User, address: str = "") -> None:
        client = Client()
        client.force_login(user, backend=BACKEND)
        cookies = {"sessionid": client.cookies["sessionid"].value, "csrftoken": TOKEN}
        self.http = httpx.Client(
            base_url=address or site(),
            cookies=cookies,
            headers={"X-CSRFToken": TOKEN},
            timeout=30,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.http.post(path, data=fields, headers={"Accept": "application/json"})

    def ask(self, text: str = LONG, **fields: str) -> dict[str, str]:
        answer = self.post("/chat/ask", text=text, model=MODEL, **fields)
        assert answer.status_code == 200, answer.text
        told: dict[str, str] = answer.json()
        return told

    def events(self, path: str, after: str = "") -> Iterator[Event]:
        """The stream's events until it ends; closing the iterator closes the connection."""
        headers = {"Last-Event-ID": after} if after else {}
        with self.http.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200, answer.status_code
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-accel-buffering"] == "no"
            found: dict[str, str] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    found[name] = value
                elif "event" in found:
                    yield Event(found["id"], found["event"], json.loads(found["data"]))
                    found = {}

    def first_tokens(self, path: str, count: int = 3) -> list[Event]:
        """So many tokens, and then the tab is closed."""
        with contextlib.closing(self.events(path)) as arriving:
            tokens = (event for event in arriving if event.name == "token")
            return [next(tokens) for _ in range(count)]

    def end(self, path: str) -> Event:
        """The last event."""
        return list(self.events(path))[-1]


def said(events: list[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.name == "token")


def reply_of(cast: Cast, code: str) -> Message:
    with tenant_scope(cast.north):
        reply: Message = Message.objects.select_related("composition", "parent").get(pk=code)
        return reply
