"""A tenant leaves: taken out whole, then deleted without a trace; its neighbour notices nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from pytest_django import Settings

from apps.accounts.actions import issue_key
from apps.accounts.models import User
from apps.audit import approvals, holds
from apps.audit.anchors import canonical
from apps.audit.models import Approval, Hold
from apps.corpora.models import Document
from apps.forgetting import ending, leaving
from apps.forgetting.tables import kept_by_their_owner, of_people, tables_of_tenants
from apps.runs.models import Run
from apps.runs.states import State
from apps.tenants.models import Membership, Role, Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InternalError
from counterpoint import keys, live
from counterpoint.env import home_folder
from counterpoint.storage import blobs, run_folder
from tests.apps.corpora.making import make_corpus, take_in
from tests.browser.making import fill
from tests.cast import Cast

BOTH = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
WORDS = b"The gauge of Tarn Lake reads 7 mm."


@pytest.fixture
def home(tmp_path: Path, settings: Settings) -> Iterator[Path]:
    keys.forget()
    settings.HOME = tmp_path / "home"
    yield settings.HOME
    keys.forget()


def filled(cast: Cast) -> None:
    """North with something in every room, and South with a document of its own."""
    fill(cast)
    take_in(cast, make_corpus(cast, "Gauges"), {"a.txt": WORDS})
    issue_key(cast.ada, cast.north, "script")
    with tenant_scope(cast.north):
        (run_folder(cast.ada.pk) / "checkpoint").write_bytes(b"numbers")
        live.quick().set(live.key("quota:1:1"), 5)
        Run.objects.filter(state=State.RUNNING).update(
            state=State.CANCELLED, finished_at="2030-01-01T00:00:00Z", lease_until=None, owner=""
        )
    with tenant_scope(cast.south):
        blobs().put("text", WORDS)
        live.quick().set(live.key("quota:1:1"), 5)


def agree(cast: Cast, kind: str) -> Approval:
    with tenant_scope(cast.north):
        return leaving.ask(kind, cast.north, by=cast.ada, reason="We move.")


def delete(certificate: Path | None, **more: Any) -> str:
    out = StringIO()
    told = {"confirm": "north", "certificate": certificate} | more
    call_command("delete_tenant", "north", stdout=out, **told)
    return out.getvalue()


def rows_by_table(tenant: object) -> dict[str, int]:
    """What the tables hold of a tenant, as the backup's login sees them: no policy binds it."""
    found = {}
    with psycopg.connect(backup_login()) as anybody:
        for table in tables_of_tenants():
            told = f'SELECT count(*) FROM "{table}" WHERE tenant_id = %s'  # noqa: S608  our tables
            row = anybody.execute(told, [tenant]).fetchone()  # type: ignore[arg-type]  # our words
            if row and row[0]:
                found[table] = int(row[0])
    return found


def backup_login() -> str:
    owner = urlsplit(os.environ["DATABASE_OWNER_URL"])
    secret = json.loads((home_folder() / "engine-passwords.json").read_text())["app_backup"]
    return owner._replace(netloc=f"app_backup:{secret}@{owner.hostname}:{owner.port}").geturl()


def names_in(home: Path, tenant: object) -> list[str]:
    return [str(path) for path in home.rglob("*") if str(tenant) in str(path)]


# ---- taken out -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_everything_is_taken_out_in_plain_and_in_order(
    cast: Cast, home: Path, tmp_path: Path
) -> None:
    filled(cast)
    agree(cast, leaving.EXPORT)
    target = tmp_path / "north.tar"
    call_command("export_tenant", "north", to=target, stdout=StringIO())
    assert target.stat().st_mode & 0o077 == 0
    with tarfile.open(target) as tar:
        inside = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]  # files alone
    told = json.loads(inside["manifest.json"])
    assert (told["tenant"]["slug"], told["damaged"]) == ("north", [])
    lines = {
        name.removeprefix("rows/").removesuffix(".jsonl"): text.splitlines()
        for name, text in inside.items()
        if name.startswith("rows/")
    }
    assert {table: len(rows) for table, rows in lines.items()} == told["rows"]
    assert set(lines) == set(tables_of_tenants()) - set(told["withheld"])
    assert b'"secret"' not in b"".join(text for name, text in inside.items() if "rows/" in name)
    with tenant_scope(cast.north):
        document = Document.objects.get(path="a.txt")
    assert inside[f"originals/{document.original_digest}"] == WORDS
    assert inside[f"texts/{document.text_digest}"].strip() == WORDS
    titles = [json.loads(line)["path"] for line in lines["corpora_document"]]
    assert "a.txt" in titles
    assert {json.loads(line)["email"] for line in inside["people.jsonl"].splitlines()} >= {
        cast.ada.email,
        cast.bo.email,
    }
    assert cast.cy.email.encode() not in b"".join(inside.values())  # nobody of South
    acts = [json.loads(line)["action"] for line in lines["audit_auditevent"]]
    assert "approval.ask" in acts


def test_without_agreement_nothing_is_taken_out(cast: Cast, home: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="has not agreed"):
        call_command("export_tenant", "north", to=tmp_path / "north.tar")
    assert list(tmp_path.glob("*.tar")) == []
    with tenant_scope(cast.north):
        Tenant.objects.filter(pk=cast.north.pk).update(settings={"four_eyes": ["tenant_out"]})
        wish = leaving.ask(leaving.EXPORT, cast.north, by=cast.ada, reason="We move.")
    with pytest.raises(CommandError, match="has not agreed"):
        call_command("export_tenant", "north", to=tmp_path / "north.tar")
    with tenant_scope(cast.north):
        approvals.decide(wish, "grant", by=cast.otto)
    call_command("export_tenant", "north", to=tmp_path / "north.tar", stdout=StringIO())
    with pytest.raises(CommandError, match="has not agreed"):  # it was good for once
        call_command("export_tenant", "north", to=tmp_path / "again.tar")


def test_a_curator_agrees_on_a_page_and_nobody_else_can(cast: Cast) -> None:
    address = reverse("forgetting:leave")
    told = {"kind": leaving.DELETION, "leave_reason": "We move."}
    assert cast.client(cast.bo).post(address, told).status_code == 403
    page = cast.client(cast.ada).post(address, told, follow=True).content.decode()
    assert "within seven days" in page
    with tenant_scope(cast.north):
        assert leaving.agreement(leaving.DELETION, cast.north).asked_by == cast.ada
    page = cast.client(cast.ada).post(address, told | {"kind": "lift"}, follow=True)
    assert "Choose to take everything out" in page.content.decode()


# ---- deleted -------------------------------------------------------------------------------------


@BOTH
def test_nothing_of_a_tenant_is_left_and_its_neighbour_is_whole(
    cast: Cast, home: Path, tmp_path: Path
) -> None:
    filled(cast)
    south = rows_by_table(cast.south.pk)
    agree(cast, leaving.DELETION)
    file = tmp_path / "north.json"
    assert "north is deleted" in delete(file)
    assert rows_by_table(cast.north.pk) == {}
    assert names_in(home, cast.north.pk) == []
    assert list(live.quick().scan_iter(match=f"t:{cast.north.pk}:*")) == []
    assert not Tenant.objects.filter(slug="north").exists()
    assert set(User.objects.all()) == {cast.cy}
    assert rows_by_table(cast.south.pk) == south
    with tenant_scope(cast.south):
        assert blobs().open("text", hashlib.sha256(WORDS).hexdigest()).read() == WORDS
        assert live.quick().get(live.key("quota:1:1")) == b"5"
    told = json.loads(file.read_text())
    signature = base64.b64decode(told.pop("signature"))
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(told["key"]))
    key.verify(signature, canonical(told))
    assert told["keys_destroyed"] == [1]
    assert told["rows"]["corpora_document"] > 0
    assert told["files"] > 0
    assert "BACKUP_KEY" in told["not_covered"]
    assert "was deleted before" in delete(file)
    sealed_again()


def sealed_again() -> None:
    """The last step lifted row security for itself alone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND NOT relforcerowsecurity",
            [sorted(set(tables_of_tenants()) - {"tenants_membership", "accounts_apikey"})],
        )
        assert cursor.fetchall() == []
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgenabled = 'D'")
        assert cursor.fetchone() == (0,)


@BOTH
@pytest.mark.parametrize("dies_in", ["drop_rows", "drop_files", "drop_keys_of_valkey", "write"])
def test_killed_anywhere_it_goes_on(
    cast: Cast, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    take_in(cast, make_corpus(cast, "Gauges"), {"a.txt": WORDS})
    agree(cast, leaving.DELETION)

    def killed(*_told: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ending, dies_in, killed)
        with pytest.raises(KeyboardInterrupt):
            delete(tmp_path / "north.json")
    with tenant_scope(cast.north), pytest.raises(InternalError, match=r"key\.gone"):
        keys.named(1)  # gone first, whatever came after
    assert not Membership.objects.of(cast.north).exists()
    delete(tmp_path / "north.json")
    assert rows_by_table(cast.north.pk) == {}
    assert names_in(home, cast.north.pk) == []
    sealed_again()


@BOTH
def test_somebody_who_belongs_elsewhere_too_stays(cast: Cast, home: Path, tmp_path: Path) -> None:
    Membership.objects.create(tenant=cast.south, user=cast.bo, role=Role.EMPLOYEE)
    agree(cast, leaving.DELETION)
    delete(tmp_path / "north.json")
    assert set(User.objects.all()) == {cast.bo, cast.cy}
    told = json.loads((tmp_path / "north.json").read_text())
    assert told["people_kept"] == [str(cast.bo.pk)]


def test_a_hold_a_missing_word_and_a_working_run_refuse(
    cast: Cast, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "north.json"
    with pytest.raises(CommandError, match="must repeat"):
        delete(file, confirm="south")
    with pytest.raises(CommandError, match="names a file"):
        delete(None)
    with pytest.raises(CommandError, match="has not agreed"):
        delete(file)
    agree(cast, leaving.DELETION)
    with tenant_scope(cast.north):
        hold = holds.place(
            Hold.Kind.PERSON, cast.bo, by=cast.otto, reason="A court.", review_on=date(2030, 1, 1)
        )
    out = StringIO()
    call_command("delete_tenant", "north", dry_run=True, stdout=out)
    assert "held, so it would be refused: Bo Aster" in out.getvalue()
    with pytest.raises(CommandError, match="legal hold stands on Bo Aster"):
        delete(file)
    with tenant_scope(cast.north):
        holds.lift(hold, by=cast.otto)
        assert keys.newest().version == 1
    file.write_text("something of yours")
    with pytest.raises(CommandError, match="file of this name"):
        delete(file)
    assert Membership.objects.of(cast.north).exists()


def test_a_run_in_a_workers_hand_is_waited_for(cast: Cast, home: Path, tmp_path: Path) -> None:
    fill(cast)
    agree(cast, leaving.DELETION)
    with pytest.raises(CommandError, match="Workers still stop runs"):
        delete(tmp_path / "north.json")
    with tenant_scope(cast.north):
        working = Run.objects.filter(state=State.RUNNING)
        assert working.exists()
        assert not working.filter(cancel_requested_at=None).exists()
        assert keys.newest().version == 1


def test_the_catalogue_knows_what_only_the_owner_may_empty(db: None) -> None:
    found = kept_by_their_owner(tables_of_tenants())
    assert {"audit_auditevent", "corpora_snapshot", "corpora_corpus", "runs_run"} <= found
    assert not {"corpora_passage", "corpora_document", "chat_message"} & found
    assert ("mfa_authenticator", "user_id") in of_people()
    assert not {table for table, _ in of_people()} & set(tables_of_tenants())
