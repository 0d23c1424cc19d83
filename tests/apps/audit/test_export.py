"""The log leaves in a shape that collectors know, in order, signed, and loses nothing."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command

from apps.audit.actions import faults, record
from apps.audit.anchors import anchor, faults_against
from apps.audit.models import AuditEvent, AuditHead, AuditSent
from apps.audit.ocsf import event
from apps.audit.sinks import ship, signature, sink_of
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint import outbound
from tests.apps.audit.test_audit import THREE, as_owner, found, write
from tests.cast import Cast


def test_every_line_becomes_an_event_of_the_schema(cast: Cast) -> None:
    write(cast, *THREE, "sign_in", "member.invite", "access.refuse")
    with tenant_scope(cast.north):
        events = [event(line) for line in AuditEvent.objects.order_by("sequence")]
    for each in events:
        assert each["type_uid"] == each["class_uid"] * 100 + each["activity_id"]
        assert each["class_uid"] // 1000 == each["category_uid"]
        assert each["metadata"]["tenant_uid"] == str(cast.north.pk)
        assert each["severity_id"] in range(7)
        assert each["time"] > 1_700_000_000_000
    assert {each["class_uid"] for each in events} == {3001, 3002, 6003}
    told = json.dumps(events)
    assert "Ada Lind" not in told.replace(str(cast.ada), "")


def test_a_file_gets_each_line_once_and_in_order(cast: Cast, tmp_path: Path, settings: Any) -> None:
    path = tmp_path / "audit.jsonl"
    settings.AUDIT_SINKS = [f"file://{path}"]
    write(cast, *THREE)
    with tenant_scope(cast.north):
        count = ship()
        assert ship() == 0
    write(cast, "run.stop")
    with tenant_scope(cast.north):
        assert ship() == 1
    numbers = [json.loads(line)["metadata"]["sequence"] for line in path.read_text().splitlines()]
    assert numbers == list(range(1, count + 2))


def test_syslog_hears_whole_messages(cast: Cast, settings: Any) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def listen() -> None:
            with door.accept()[0] as caller:
                while piece := caller.recv(65536):
                    heard.append(piece)

        ear = threading.Thread(target=listen, daemon=True)
        ear.start()
        settings.AUDIT_SINKS = [f"syslog://127.0.0.1:{door.getsockname()[1]}"]
        write(cast, *THREE)
        with tenant_scope(cast.north):
            sent = ship()
        ear.join(5)
    raw, messages = b"".join(heard), []
    while raw:
        length, _, rest = raw.partition(b" ")
        messages.append(rest[: int(length)].decode())
        raw = rest[int(length) :]
    assert len(messages) == sent
    assert messages[-1].startswith("<109>1 ")
    assert json.loads(messages[-1][messages[-1].index("{") :])["status"] == "ok"


class Collector(BaseHTTPRequestHandler):
    heard: list[tuple[dict[str, str], bytes]] = []
    status = 204

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append((dict(self.headers), body))
        self.send_response(self.status)
        self.end_headers()


@pytest.fixture
def collector() -> Iterator[str]:
    Collector.heard.clear()
    Collector.status = 204
    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/lines"
    server.shutdown()
    server.server_close()


def test_a_webhook_is_signed_and_an_absent_one_loses_nothing(
    cast: Cast, collector: str, settings: Any
) -> None:
    settings.AUDIT_SINKS = [collector]
    write(cast, *THREE)
    Collector.status = 503
    with tenant_scope(cast.north):
        assert ship() == 0
        assert AuditSent.objects.get().failure == "Refused"
    Collector.status = 204
    with tenant_scope(cast.north):
        sent = ship()
        assert AuditSent.objects.get().failure == ""
    headers, body = Collector.heard[-1]
    assert len(body.splitlines()) == sent
    signed = f"sha256={signature(headers['X-Counterpoint-Time'], body)}"
    assert headers["X-Counterpoint-Signature"] == signed
    changed = body.replace(b"ok", b"no", 1)
    assert signature(headers["X-Counterpoint-Time"], changed) not in signed


@pytest.mark.parametrize("address", ["ftp://there/", "file://", "syslog:", "nowhere", "https://"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="AUDIT_SINKS"):
        sink_of(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/",
        "https://[fe80::1]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://[::ffff:169.254.169.254]/",
    ],
)
def test_nothing_is_posted_to_where_clouds_keep_secrets(address: str) -> None:
    with pytest.raises(outbound.Refused, match="where nothing is sent"):
        outbound.resolved(outbound.urlsplit(address).hostname or "", 443)


def test_in_the_clear_only_this_machine_is_posted_to() -> None:
    with pytest.raises(outbound.Refused, match="in the clear"):
        outbound.post("http://10.0.0.1/", b"", headers={})


@pytest.mark.django_db(transaction=True)
def test_lines_cut_off_at_the_end_are_found(cast: Cast) -> None:
    write(cast, *THREE)
    assert found(cast.north) == []
    as_owner(cast.north, "DELETE FROM audit_auditevent WHERE action = 'run.start'")
    assert any("the newest, are missing" in fault for fault in found(cast.north))


@pytest.mark.django_db(transaction=True)
def test_a_mark_that_was_moved_or_removed_is_found(cast: Cast) -> None:
    write(cast, *THREE)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        for lift, statement in (
            ("NO FORCE", "UPDATE audit_audithead SET sequence = sequence - 1"),
            ("NO FORCE", "DELETE FROM audit_audithead"),
        ):
            owner.execute(f"ALTER TABLE audit_audithead {lift} ROW LEVEL SECURITY")
            owner.execute(statement)
            owner.execute("ALTER TABLE audit_audithead FORCE ROW LEVEL SECURITY")
            assert any("mark of where the log ends" in fault for fault in found(cast.north))
    write(cast, "run.stop")
    with tenant_scope(cast.north):
        assert AuditHead.objects.exists()
        assert AuditEvent.objects.filter(action="audit.head_lost").count() == 1
        assert list(faults()) == []


@pytest.mark.django_db(transaction=True)
def test_anchors_find_a_log_that_was_rewritten_with_all_its_keys(
    cast: Cast, tmp_path: Path
) -> None:
    write(cast, *THREE)
    kept = tmp_path / "anchors"
    out = StringIO()
    call_command("anchor_audit", stdout=out)
    kept.write_text(out.getvalue())
    call_command("verify_audit", "--anchors", str(kept), stdout=StringIO())
    with tenant_scope(cast.north):
        line = AuditEvent.objects.get(action="run.start")
        head = AuditHead.objects.get()
    line.outcome = "fine"
    line.digest = head.digest = line.digest_now()
    as_owner(
        cast.north,
        f"UPDATE audit_auditevent SET outcome = 'fine', digest = '{line.digest}',"  # noqa: S608  our own text
        f" seal = '{line.seal_now()}' WHERE action = 'run.start'",
    )
    with tenant_scope(cast.north):
        AuditHead.objects.update(digest=head.digest, seal=head.seal_now())
        assert list(faults()) == []  # the chain alone cannot tell
    with pytest.raises(CommandError, match="not whole"):
        call_command("verify_audit", "--anchors", str(kept), stdout=StringIO())


def test_a_changed_anchor_and_rubbish_are_told(cast: Cast) -> None:
    with tenant_scope(cast.north):
        record("run.start", None, by=cast.ada)
        line = anchor()
        assert list(faults_against(line)) == []
        changed = line.replace('"sequence": ', '"sequence": 1')
        for wrong in (changed, "{}", "[]", "rubbish", '{"signature": 7}'):
            (fault,) = faults_against(wrong)
            assert "was not signed by this installation" in fault
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("verify_audit", "--anchors", "/nowhere", stdout=StringIO())


def test_the_command_prints_every_line_as_an_event(cast: Cast) -> None:
    out = StringIO()
    call_command("export_audit", "--print", stdout=out)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {each["metadata"]["tenant_uid"] for each in events} == {
        str(cast.north.pk),
        str(cast.south.pk),
    }
