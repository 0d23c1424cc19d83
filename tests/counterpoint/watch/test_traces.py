"""Spans as a collector receives them: one trace through the processes, and never a word of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from calm_engine import traces
from tests.apps.chat.making import Visitor, make_model, start_server, stop_server
from tests.apps.corpora.making import make_corpus
from tests.apps.corpora.test_pages import url
from tests.cast import Cast
from tests.waiting import PATIENCE, wait_until

SENTENCE = "The heron ledger of Tarn Lake closes at eleven."


@dataclass(frozen=True)
class Told:
    """One span: which process, what it was called, its trace, its parent, its attributes."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    attributes: dict[str, Any]
    status: str


@dataclass
class Collector:
    """What was sent to it."""

    address: str = ""
    bodies: list[bytes] = field(default_factory=list)

    def spans(self) -> list[Told]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
            ExportTraceServiceRequest,
        )

        found: list[Told] = []
        for body in list(self.bodies):
            for sender in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = {each.key: each.value.string_value for each in sender.resource.attributes}
                for scope in sender.scope_spans:
                    found += [told(about["service.name"], each) for each in scope.spans]
        return found

    def named(self, service: str, name: str, *, trace: str = "") -> Told:
        """The one of this name; of this trace alone, since a queue may hold older messages."""
        [found] = [
            each
            for each in self.spans()
            if (each.service, each.name) == (service, name) and trace in ("", each.trace)
        ]
        return found


def told(service: str, span: Any) -> Told:
    values = {
        each.key: getattr(each.value, str(each.value.WhichOneof("value")))
        for each in span.attributes
    }
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    return Told(service, span.name, *ids, values, span.status.message)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector of OpenTelemetry on loopback."""
    found = Collector()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found.address = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """This process and those it starts send their spans there."""
    with collecting() as found:
        monkeypatch.setenv(traces.ENDPOINT, found.address)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # milliseconds
        traces.begin("counterpoint-web", "9.9.9")
        yield found
        traces.end()


@pytest.mark.django_db(transaction=True)
def test_an_upload_is_one_trace_from_the_page_to_the_worker(
    cast: Cast, collector: Collector, tmp_path: Path
) -> None:
    corpus = make_corpus(cast)
    sent = SimpleUploadedFile("heron-ledger.txt", SENTENCE.encode())
    cast.client(cast.ada).post(url("receive", corpus), {"files": [sent]})
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "celery", "-A", "counterpoint", "--quiet", "worker"]
    command += ["-Q", "ingest", "-c", "1", "--without-gossip", "--without-mingle", "-n", "t@%h"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=surroundings, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: "stored" in str(states(cast)))
        arrived = wait_until(lambda: any("worker" in each.service for each in collector.spans()))
        assert arrived, (tmp_path / "worker.log").read_text()
    finally:
        worker.terminate()
        worker.wait(PATIENCE)
    asked = collector.named("counterpoint-web", "corpora:receive")
    sending = collector.named("counterpoint-web", "send:ingestion.extract", trace=asked.trace)
    done = collector.named("counterpoint-worker", "ingestion.extract", trace=asked.trace)
    assert asked.trace == sending.trace == done.trace
    assert (asked.parent, sending.parent, done.parent) == ("", asked.span, sending.span)
    assert asked.attributes["http.response.status_code"] == 302
    assert asked.attributes["counterpoint.tenant"] == str(cast.north.pk)
    said_nothing(collector, "heron", "Tarn Lake", str(cast.ada.email))


def states(cast: Cast) -> list[str]:
    from apps.corpora.models import UploadItem  # noqa: PLC0415
    from apps.tenants.scope import tenant_scope  # noqa: PLC0415

    with tenant_scope(cast.north):
        return list(UploadItem.objects.values_list("state", flat=True))


@pytest.mark.django_db(transaction=True)
def test_a_question_is_one_trace_from_the_page_to_the_model_server(
    cast: Cast, collector: Collector
) -> None:
    server = start_server()
    try:
        make_model(cast.north, cast.ada, cast.bo, address=server.address)
        with Visitor(cast.bo) as bo:
            asked = bo.ask(SENTENCE)
            answer = bo.end(asked["stream"]).data["text"]
        assert wait_until(lambda: any("model" in each.service for each in collector.spans()))
    finally:
        stop_server(server)
    traces.end()
    page = collector.named("counterpoint-web", "chat:ask")
    asking = collector.named("counterpoint-web", "model.ask")
    answering = collector.named("counterpoint-model", "model.answer")
    assert page.trace == asking.trace == answering.trace
    assert (asking.parent, answering.parent) == (page.span, asking.span)
    assert answering.attributes["counterpoint.completion_tokens"] > 0
    assert answering.attributes["counterpoint.outcome"] in {"stop", "length"}
    said_nothing(collector, "heron", "Tarn Lake", answer[:12])


def said_nothing(collector: Collector, *words: str) -> None:
    """No word of a document, a question or an answer was sent, in any encoding that one reads."""
    everything = b"".join(collector.bodies)
    assert everything
    assert [word for word in words if word and word.encode() in everything] == []


def test_a_fault_is_told_by_its_kind_alone(collector: Collector) -> None:
    with pytest.raises(ValueError, match="heron"), traces.span("broken"):
        raise ValueError(SENTENCE)
    traces.end()
    assert collector.named("counterpoint-web", "broken").status == "ValueError"
    said_nothing(collector, "heron")


def test_only_words_on_the_list_can_be_told(collector: Collector) -> None:
    with pytest.raises(KeyError), traces.span("task", question=SENTENCE):
        pass
    with traces.span(SENTENCE, counterpoint__model=SENTENCE) as span:
        span.rename(SENTENCE)
        span.tell(counterpoint__outcome=SENTENCE, counterpoint__prompt_tokens=7)
        span.fail(SENTENCE)
    traces.end()
    found = collector.named("counterpoint-web", traces.HIDDEN)
    assert found.attributes["counterpoint.prompt_tokens"] == 7
    assert found.attributes["counterpoint.model"] == traces.HIDDEN
    said_nothing(collector, "heron")


def test_a_collector_that_is_away_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(traces.ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    traces.begin("counterpoint-web", "9.9.9")
    with traces.span("work"):
        pass
    traces.end()
    assert traces.heading() == {}


def test_without_an_endpoint_nothing_that_sends_is_loaded_and_nothing_is_passed_on() -> None:
    """The client of Valkey loads OpenTelemetry's names by itself where they are installed."""
    script = """
import sys, threading, django; django.setup()
from calm_engine import traces
from counterpoint.watch import tasks, requests
import counterpoint.asgi
traces.begin("counterpoint-web", "1")
with traces.span("work", counterpoint__task="x") as span:
    assert span.heading() == traces.heading() == {}
assert not [name for name in sys.modules if name.startswith("opentelemetry.exporter")]
assert not [each.name for each in threading.enumerate() if "otel" in each.name.lower()]
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    roots = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", script], env=clean | {"PYTHONPATH": roots}, check=True)
