"""Who is told of a run, on the page, by mail and by webhook; and who never is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.core import mail
from django.db.models.functions import Now

from apps.runs import endings
from apps.runs.claims import claim
from apps.runs.execution import executing
from apps.runs.models import Delivery, Notice, Run, Webhook
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint import outbound
from tests.apps.runs.making import make_run
from tests.cast import Cast
from workers import deliveries

pytestmark = pytest.mark.django_db(transaction=True)
WELL = {"kind": "augmenter", "digest": "0" * 64, "folder": ""}


class Listener(BaseHTTPRequestHandler):
    """Somebody's own server, which hears of runs."""

    heard: list[tuple[str, bytes]]
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append((self.headers["Counterpoint-Signature"], body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def listener(settings: Any) -> Iterator[str]:
    settings.WEBHOOK_HOSTS = ["127.0.0.1"]
    Listener.heard, Listener.status = [], 200
    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/runs"
    server.shutdown()
    thread.join()
    server.server_close()


def made(cast: Cast) -> Run:
    with tenant_scope(cast.north):
        return make_run(cast.ada)


def fail(cast: Cast) -> None:
    attempt = claim("gpu", "here")
    assert attempt is not None
    with executing(attempt):
        raise InputError("data.json", "No JSON.")


def test_whoever_started_a_run_is_told_once_and_reads_it_by_looking(cast: Cast) -> None:
    run = made(cast)
    fail(cast)
    with tenant_scope(cast.north):
        assert Notice.objects.get().user == cast.ada
    client = cast.client(cast.ada)
    assert "has failed" in client.get("/runs/").content.decode()
    client.get(f"/runs/{run.pk}/")
    assert "has failed" not in client.get("/runs/").content.decode()
    assert b"has failed" not in cast.client(cast.cy).get("/runs/").content


def test_a_mail_is_sent_where_there_is_a_mail_server(cast: Cast, settings: Any) -> None:
    settings.EMAIL_HOST = "mail.north.example"
    run = made(cast)
    attempt = claim("gpu", "here")
    assert attempt is not None
    with executing(attempt) as job, tenant_scope(cast.north):
        endings.succeed(job.run, WELL)
    deliveries.deliver()
    deliveries.deliver()
    (letter,) = mail.outbox
    assert letter.to == ["ada@north.example"]
    assert f"/runs/{run.pk}/" in letter.body


def test_a_webhook_is_told_by_a_signed_message_without_names(cast: Cast, listener: str) -> None:
    with tenant_scope(cast.north):
        Webhook.objects.create(address=listener, secret="s3cret", by=cast.ada)
    run = made(cast)
    fail(cast)
    deliveries.deliver()
    ((signed, body),) = Listener.heard
    at = signed.partition(",")[0].removeprefix("t=")
    assert signed == f"t={at},v1={outbound.signature('s3cret', at, body)}"
    told = json.loads(body)
    assert (told["event"], told["run"], told["failure"]) == (
        "run.failed",
        str(run.pk),
        "data.json",
    )
    assert b"Devices" not in body


def test_a_webhook_that_fails_is_told_again_later(cast: Cast, listener: str) -> None:
    with tenant_scope(cast.north):
        Webhook.objects.create(address=listener, secret="s3cret", by=cast.ada)
    made(cast)
    fail(cast)
    Listener.status = 500
    deliveries.deliver()
    with tenant_scope(cast.north):
        waiting = Delivery.objects.get()
        assert waiting.sent_at is None
        assert "500" in waiting.error
        Delivery.objects.update(due_at=Now())
    Listener.status = 200
    deliveries.deliver()
    assert len(Listener.heard) == 2
    with tenant_scope(cast.north):
        assert Delivery.objects.get().sent_at is not None


def test_a_host_that_the_site_does_not_name_is_never_reached(cast: Cast, settings: Any) -> None:
    client = cast.client(cast.ada)
    answer = client.post("/runs/webhooks", {"address": "http://127.0.0.1:9/x"})
    assert "WEBHOOK_HOSTS" in answer.content.decode()
    settings.WEBHOOK_HOSTS = ["127.0.0.1"]
    answer = client.post("/runs/webhooks", {"address": "http://127.0.0.1:9/x"})
    assert "shown once" in answer.content.decode()
    made(cast)
    fail(cast)
    settings.WEBHOOK_HOSTS = []
    deliveries.deliver()
    with tenant_scope(cast.north):
        assert "WEBHOOK_HOSTS" in Delivery.objects.get().error
