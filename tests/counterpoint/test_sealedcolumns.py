"""Secrets in rows lie sealed, bound to their place; old data keys go when nothing needs them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from pytest_django import Settings

from apps.runs.models import Webhook
from apps.tenants.models import DataKey
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InternalError
from counterpoint import keys, resealing, sealedcolumns
from counterpoint.shelves import STUDIES
from counterpoint.storage import blobs
from tests.cast import Cast

SECRET = "the herons know it"


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, settings: Settings) -> Iterator[None]:
    settings.HOME = tmp_path
    settings.WEBHOOK_HOSTS = ["hooks.north.example"]
    keys.forget()
    yield
    keys.forget()


def made(cast: Cast, name: str = "runs") -> Webhook:
    row = Webhook(address=f"https://hooks.north.example/{name}", by=cast.ada)
    row.secret = sealedcolumns.sealed(SECRET, row, "secret")
    row.save()
    return row


def test_what_the_page_makes_lies_sealed_and_opens_for_the_sender(cast: Cast) -> None:
    sent = {"address": "https://hooks.north.example/runs"}
    page = cast.client(cast.ada).post("/runs/webhooks", sent).content.decode()
    with tenant_scope(cast.north):
        row = Webhook.objects.get()
        with connection.cursor() as cursor:
            cursor.execute("SELECT secret FROM runs_webhook")
            (held,) = cursor.fetchone()
        secret = sealedcolumns.opened(row, "secret")
    assert held.startswith("sealed:")
    assert secret in page
    assert secret not in held


def test_a_sealed_secret_opens_in_no_other_row_and_not_when_it_was_changed(cast: Cast) -> None:
    with tenant_scope(cast.north):
        row, other = made(cast), made(cast, "others")
        other.secret = row.secret
        for wrong in (other, Webhook(pk=row.pk, secret=row.secret[:-8] + "AAAAAAA=")):
            with pytest.raises(InternalError, match=r"key\.sealed"):
                sealedcolumns.opened(wrong, "secret")
        for text in ("sealed:", "sealed:!", "sealed:AAAA"):
            with pytest.raises(InternalError, match=r"key\.sealed"):
                sealedcolumns.opened(Webhook(pk=row.pk, secret=text), "secret")


def test_what_an_older_release_wrote_is_read_and_sealed(cast: Cast, tmp_path: Path) -> None:
    with tenant_scope(cast.north):
        row = Webhook.objects.create(
            address="https://hooks.north.example/", secret=SECRET, by=cast.ada
        )
        assert sealedcolumns.opened(row, "secret") == SECRET
        assert resealing.reseal(tmp_path).columns == 1
        assert resealing.reseal(tmp_path).columns == 0
        row.refresh_from_db()
        assert row.secret.startswith("sealed:")
        assert sealedcolumns.opened(row, "secret") == SECRET


def command(verb: str) -> str:
    out = StringIO()
    call_command("keys", verb, "--tenant", "north", stdout=out)
    return out.getvalue()


def test_an_old_key_goes_when_nothing_is_sealed_under_it_and_no_sooner(
    cast: Cast, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "facts.jsonl").write_bytes(b"It is 7 mm.")
    with tenant_scope(cast.north):
        stored = blobs().put("text", b"The gauge reads 7 mm.").digest
        row = made(cast)
        STUDIES.keep("c" * 8, work)
        assert resealing.in_use(tmp_path) == {1: 3}
        keys.rotate_data_key()
    keys.forget()
    assert "key 1 stays: it seals 3 files or secrets" in command("drop")
    assert "2 files and 1 secrets in rows sealed anew" in command("reseal")
    assert "key 1 stays: it was writing within the last day" in command("drop")
    with tenant_scope(cast.north):
        assert resealing.in_use(tmp_path) == {2: 3}
        DataKey.objects.update(created_at=F("created_at") - timedelta(days=2))
    told: Any = command("drop")
    assert told == "north: 1 dropped\n"
    assert command("drop") == "north: no key dropped\n"  # never the one that writes
    with tenant_scope(cast.north):
        row.refresh_from_db()
        assert sealedcolumns.opened(row, "secret") == SECRET
        with blobs().open("text", stored) as file:
            assert file.read() == b"The gauge reads 7 mm."
        STUDIES.bring("c" * 8, tmp_path / "again")
        assert (tmp_path / "again" / "facts.jsonl").read_bytes() == b"It is 7 mm."
        with pytest.raises(InternalError, match=r"key\.gone"):
            keys.named(1)
