"""From the former release to this one, while a training works and a chat is open; and back.

The former site is a database of that release's migrations with the rows of a company at work, and
the folder of a run whose trainer was stopped between two steps, as a lost node leaves it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings

from apps.chat.models import Conversation, Message
from apps.corpora import manifests
from apps.corpora.actions import grant
from apps.corpora.models import Snapshot
from apps.registry.actions import promote
from apps.registry.models import Alias
from apps.runs.actions import start_augment
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from counterpoint.release import FORMER
from counterpoint.storage import run_folder
from tests.apps.chat.making import Visitor
from tests.cast import Cast
from tests.former import Row, Site, former_site
from tests.product import running
from tests.waiting import free_port, meanwhile, wait_until
from tests.workers.making import AUGMENT, make_anchor, make_snapshot, publish
from workers import gpu
from workers.places import Place

pytestmark = pytest.mark.django_db(transaction=True)

QUESTION, ANSWER = "Where is the MX-3 made?", "In Japan, says the sheet."
STEPS = 400
AFTER = 30  # steps, and so a checkpoint or two
LONG = AUGMENT | {"steps": STEPS, "checkpoint_every": 10}


@pytest.fixture
def former(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """What the test stores meanwhile lies in its home folder."""
    with former_site(tmp_path / "former") as site:
        settings.HOME = site.home
        monkeypatch.setenv("COUNTERPOINT_HOME", str(site.home))
        yield site


@pytest.fixture(autouse=True)
def _at_work(cast: Cast, former: Site, tmp_path: Path) -> None:
    """A live model that Bo may ask, a chat of his that has begun, and a training that waits."""
    with tenant_scope(cast.north):
        anchor = make_anchor(cast, tmp_path / "anchor")
        snapshot = make_snapshot(cast)
        grant(snapshot.corpus, cast.bo, "read", by=cast.ada)
        model = publish(cast, snapshot, anchor, tmp_path, uuid4())
        promote(model, Alias.LIVE, by=cast.ada)
        chat = Conversation.objects.create(owner=cast.bo, title=QUESTION, model=model.name)
        done: dict[str, Any] = {"conversation": chat, "state": "complete"}
        done["finished_at"] = timezone.now()
        asked = Message.objects.create(position=0, role="user", text=QUESTION, **done)
        Message.objects.create(
            position=1, role="assistant", text=ANSWER, parent=asked, composition=model, **done
        )
        start_augment(snapshot, anchor=anchor, settings=LONG, by=cast.ada)


def leave_in_the_middle(
    cast: Cast, site: Site, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> int:
    """Train, and take the site over while the row says "running" and the trainer stands still.

    Returns the step of the newest checkpoint that was taken over.
    """
    settings.RUN_HEARTBEAT_SECONDS, settings.RUN_LEASE_SECONDS = 1, 5
    monkeypatch.setattr("workers.training.cores", lambda: 1)
    leaving = threading.Event()
    monkeypatch.setattr("workers.gpu.is_draining", leaving.is_set)
    with tenant_scope(cast.north):
        place = Place(run_folder(Run.objects.get().pk))
    reached = []

    def take_over() -> None:
        trainer = int(json.loads(place.child.read_text())["pid"])
        os.killpg(trainer, signal.SIGSTOP)
        reached.append(newest(place))
        hand_over(cast, site)
        leaving.set()
        os.killpg(trainer, signal.SIGKILL)

    with meanwhile(lambda: newest(place) >= AFTER, take_over, otherwise=leaving.set):
        gpu.wake()
    return reached[0]


def hand_over(cast: Cast, site: Site) -> None:
    """The company's rows to the former site. Its snapshots listed documents in the row."""
    with tenant_scope(cast.north):
        listed = manifests.entries(Snapshot.objects.get())
        documents = [[each.original, each.training, each.title] for each in listed]

    def with_documents(row: Row) -> Row:
        return row | {"manifest": row["manifest"] | {"documents": documents}}

    site.take_over({"corpora_snapshot": with_documents})


def newest(place: Place) -> int:
    return max((saved.step for saved in place.checkpoints()), default=0)


@contextmanager
def web_of(site: Site) -> Iterator[str]:
    """A web process of this release on the site's database; its address."""
    port = free_port()
    command = [sys.executable, "-m", "counterpoint.operate", "web", "--port", str(port)]
    with (site.home / "web.log").open("wb") as log:
        process = subprocess.Popen(command, env=site.environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: process.poll() is None and answers(f"{address}/healthz"))
        yield address
    finally:
        process.terminate()
        process.wait(60)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def ready(address: str) -> tuple[int, str]:
    told = httpx.get(f"{address}/readyz", trust_env=False)
    return told.status_code, told.json()["database"]


def assert_kept(before: dict[str, list[Row]], after: dict[str, list[Row]]) -> None:
    """Each row that was there is there, and says in each column what it said."""
    for table, rows in before.items():
        now = after[table]
        known = set(rows[0])
        seen = {json.dumps({k: v for k, v in row.items() if k in known}) for row in now}
        assert {json.dumps(row) for row in rows} <= seen, table


def test_a_site_at_work_is_upgraded_and_nothing_is_lost(
    cast: Cast, former: Site, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    bo = Visitor(cast.bo, "http://127.0.0.1")  # signed in before
    step = leave_in_the_middle(cast, former, monkeypatch, settings)
    before = former.rows()
    assert {"corpora_document", "chat_message", "runs_runcheckpoint"} <= set(before)
    with web_of(former) as address:
        code, told = ready(address)
        assert code == 503
        assert told.endswith("migrations are pending")
        assert (done := former.call("migrate")).returncode == 0, done.stderr
        assert ready(address) == (200, "ok")
    assert_kept(before, former.rows())

    with running(former.home, former.environment) as product, bo:
        bo.http.base_url = product.address()
        goes_on(bo, former)
        assert wait_until(lambda: former.ask("SELECT finished_at FROM runs_run") != [(None,)])
    ended = former.ask("SELECT state, failure_text, epoch, step FROM runs_run")
    assert ended == [("succeeded", "", 2, STEPS)]
    story = [text for (text,) in former.ask("SELECT text FROM runs_runevent ORDER BY at")]
    assert f"resumed at step {step}" in story
    made = "SELECT count(*) FROM registry_augmenter made JOIN runs_run run ON made.run_id = run.id"
    assert former.ask(made) == [(1,)]


def test_the_way_back_loses_nothing_that_the_former_release_knew(cast: Cast, former: Site) -> None:
    hand_over(cast, former)
    before = former.rows()
    assert former.call("migrate").returncode == 0
    with web_of(former):
        refused = former.call("migrate", "--back")
        assert refused.returncode != 0
        assert "Stop them first" in refused.stderr
    # The server ends the connections of a process that is gone in its own time.
    assert wait_until(lambda: former.call("migrate", "--back").returncode == 0, 60)
    assert former.rows().keys() == before.keys()
    assert_kept(former.rows(), before)
    assert_kept(before, former.rows())
    applied = former.ask("SELECT max(name) FROM django_migrations WHERE app = 'runs'")
    assert applied == [(FORMER["runs"],)]
    assert former.call("migrate").returncode == 0
    assert_kept(before, former.rows())


def goes_on(bo: Visitor, site: Site) -> None:
    """The chat is there as it was left, its writer still signed in, and takes the next question."""
    [(code,)] = site.ask("SELECT id FROM chat_conversation")
    page = bo.http.get(f"/chat/{code}/")
    assert page.status_code == 200
    assert QUESTION in page.text
    assert ANSWER in page.text
    assert wait_until(lambda: is_served(site))
    asked = bo.post("/chat/ask", text="And the MX-4?", conversation=str(code))
    assert asked.status_code == 200, asked.text
    end = bo.end(asked.json()["stream"])
    assert end.data["state"] == "complete", end.data
    wanted = "SELECT count(*) FROM chat_message WHERE conversation_id = %s AND state = 'complete'"
    assert site.ask(wanted, code) == [(4,)]


def is_served(site: Site) -> bool:
    return site.ask("SELECT count(*) FROM registry_placement WHERE state = 'ready'") == [(1,)]
