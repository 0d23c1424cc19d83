"""The log is whole, or says where it is not."""

from __future__ import annotations

import json
import os
import threading
from io import StringIO
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from apps.audit.actions import faults, record
from apps.audit.models import FIRST, AuditEvent
from apps.tenants.models import Group, Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InternalError
from tests.cast import Cast

THREE = ("corpus.create", "snapshot.freeze", "run.start")


SWAP = """
    UPDATE audit_auditevent SET sequence = sequence + 100 WHERE action = 'corpus.create';
    UPDATE audit_auditevent SET sequence = sequence - 2 WHERE action = 'run.start';
    UPDATE audit_auditevent SET sequence = sequence - 98 WHERE action = 'corpus.create';
"""


def write(cast: Cast, *actions: str) -> None:
    with tenant_scope(cast.north):
        for action in actions:
            record(action, cast.north, by=cast.ada, count=3)


def as_owner(tenant: Tenant, statement: str) -> None:
    """Edit as the tables' owner would: triggers off, policies lifted, traces removed."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        for each in (
            "ALTER TABLE audit_auditevent DISABLE TRIGGER USER",
            "ALTER TABLE audit_auditevent NO FORCE ROW LEVEL SECURITY",
            statement,
            "ALTER TABLE audit_auditevent FORCE ROW LEVEL SECURITY",
            "ALTER TABLE audit_auditevent ENABLE TRIGGER USER",
        ):
            owner.execute(each)


def found(tenant: Tenant) -> list[str]:
    with tenant_scope(tenant):
        return list(faults())


def test_each_line_follows_the_one_before(cast: Cast) -> None:
    with tenant_scope(cast.north):
        before = AuditEvent.objects.count()
    write(cast, *THREE)
    with tenant_scope(cast.north):
        lines = list(AuditEvent.objects.order_by("sequence"))
    assert [line.sequence for line in lines] == list(range(1, before + 4))
    assert lines[0].previous == FIRST
    assert all(a.digest == b.previous for a, b in pairwise(lines))
    assert found(cast.north) == []


def test_an_act_that_fails_leaves_no_line_and_a_line_that_fails_leaves_no_act(cast: Cast) -> None:
    with tenant_scope(cast.north), transaction.atomic():
        record("group.create", Group.objects.create(name="Sales"), by=cast.ada)
        transaction.set_rollback(True)
    with tenant_scope(cast.north):
        assert not AuditEvent.objects.filter(action="group.create").exists()
    with pytest.raises(TypeError):
        make_a_group_and_stumble(cast)
    with tenant_scope(cast.north):
        assert not Group.objects.exists()


def make_a_group_and_stumble(cast: Cast) -> None:
    with tenant_scope(cast.north):
        Group.objects.create(name="Sales")
        record("group.create", None, by=cast.ada, fact=Unspeakable())


class Unspeakable:
    def __str__(self) -> str:
        raise TypeError("no words for it")


def test_an_act_without_a_tenant_is_refused(cast: Cast) -> None:
    with pytest.raises(InternalError, match=r"audit\.no_tenant"):
        record("corpus.create", None, by=cast.ada)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditevent SET action = 'nothing'",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
    ],
)
def test_the_runtime_role_may_only_add(cast: Cast, statement: str) -> None:
    with (
        tenant_scope(cast.north),
        pytest.raises(DatabaseError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_the_owner_is_refused_by_the_trigger(cast: Cast) -> None:
    with (
        psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner,
        pytest.raises(psycopg.IntegrityError, match="append-only"),
    ):
        owner.execute("TRUNCATE audit_auditevent")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE audit_auditevent SET outcome = 'fine' WHERE action = 'run.start'", "was changed"),
        ("UPDATE audit_auditevent SET facts = '{}' WHERE action = 'run.start'", "was changed"),
        ("DELETE FROM audit_auditevent WHERE action = 'snapshot.freeze'", "are missing"),
        (SWAP, "does not follow"),
    ],
)
def test_editing_as_owner_is_found(cast: Cast, statement: str, words: str) -> None:
    write(cast, *THREE)
    assert found(cast.north) == []
    as_owner(cast.north, statement)
    assert any(words in fault for fault in found(cast.north))
    assert found(cast.south) == []
    with pytest.raises(CommandError, match="not whole"):
        call_command("verify_audit", stdout=StringIO())


@pytest.mark.django_db(transaction=True)
def test_a_chain_rewritten_without_the_key_is_found(cast: Cast) -> None:
    write(cast, "run.start")
    with tenant_scope(cast.north):
        line = AuditEvent.objects.get(action="run.start")
    line.outcome = "fine"
    as_owner(
        cast.north,
        "UPDATE audit_auditevent SET outcome = 'fine', "  # noqa: S608  our own text
        f"digest = '{line.digest_now()}' WHERE action = 'run.start'",
    )
    assert found(cast.north)[0] == (
        f"Line {line.sequence} was not sealed with this installation's key."
    )


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_make_one_chain(cast: Cast) -> None:
    def some() -> None:
        try:
            for _ in range(5):
                write(cast, "run.start")
        finally:
            connection.close()

    writers = [threading.Thread(target=some) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with tenant_scope(cast.north):
        assert AuditEvent.objects.filter(action="run.start").count() == 20
    assert found(cast.north) == []


def test_auditor_and_curator_read_the_log_and_an_employee_does_not(cast: Cast) -> None:
    write(cast, "corpus.create")
    for person in (cast.otto, cast.ada):
        page = cast.client(person).get("/audit/").content.decode()
        assert "corpus.create" in page
        assert "Ada Lind" in page
    assert cast.client(cast.bo).get("/audit/").status_code == 403
    assert "corpus.create" not in cast.client(cast.cy).get("/audit/").content.decode()


def test_a_refused_act_is_in_the_log(cast: Cast) -> None:
    cast.client(cast.bo).get("/audit/")
    with tenant_scope(cast.north):
        line = AuditEvent.objects.get(action="access.refuse")
    assert (line.by, line.outcome, line.facts["path"]) == (cast.bo, "refused", "/audit/")


def test_filters_narrow_what_is_shown(cast: Cast) -> None:
    write(cast, *THREE)
    client = cast.client(cast.otto)
    page = client.get("/audit/", {"action": "run.start"}).content.decode()
    assert "<code>run.start</code>" in page
    assert "<code>snapshot.freeze</code>" not in page
    assert "No line matches" in client.get("/audit/", {"person": "nobody"}).content.decode()
    assert "No line matches" in client.get("/audit/", {"until": "2020-01-01"}).content.decode()
    assert client.get("/audit/", {"since": "yesterday", "after": "x"}).status_code == 200


def test_the_export_is_json_lines_and_is_itself_a_line(cast: Cast) -> None:
    write(cast, *THREE)
    response = cast.client(cast.otto).post("/audit/export")
    lines = [json.loads(line) for line in response.content.decode().splitlines()]
    assert [line["action"] for line in lines][-3:] == list(THREE)
    assert lines[-1]["previous"] == lines[-2]["digest"]
    assert response["Content-Disposition"].startswith("attachment")
    with tenant_scope(cast.north):
        assert AuditEvent.objects.first().action == "audit.export"


def test_the_page_proves_the_log(cast: Cast) -> None:
    write(cast, *THREE)
    page = cast.client(cast.otto).post("/audit/verify").content.decode()
    assert "none was edited, removed or reordered" in page


# ---- on disk, and quick --------------------------------------------------------------------------


def settings_seen(cast: Cast, *, acts: int) -> tuple[str, int]:
    """What the transaction says of the disk after so many acts, and how often it then waits."""
    waits = 0

    def counted(execute: Any, sql: str, *rest: Any) -> Any:
        nonlocal waits
        waits += "pg_logical_emit_message" in sql
        return execute(sql, *rest)

    with connection.execute_wrapper(counted), tenant_scope(cast.north):
        for _ in range(acts):
            record("run.start", cast.north, by=cast.ada)
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            (said,) = cursor.fetchone()
    return said, waits


@pytest.mark.django_db(transaction=True)
def test_acts_let_go_of_the_log_first_and_wait_for_the_disk_once_afterwards(cast: Cast) -> None:
    assert settings_seen(cast, acts=3) == ("off", 1)
    assert settings_seen(cast, acts=0) == ("on", 0)


@pytest.mark.django_db(transaction=True)
def test_an_act_that_is_undone_leaves_the_transaction_waiting_for_the_disk_as_ever(
    cast: Cast,
) -> None:
    with tenant_scope(cast.north):
        with transaction.atomic():
            record("run.start", cast.north, by=cast.ada)
            transaction.set_rollback(True)
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == ("on",)
        assert not connection.run_on_commit
