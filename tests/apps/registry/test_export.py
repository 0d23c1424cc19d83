"""Weights leave with whoever may export every corpus that they learned from, and nobody else."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.http import StreamingHttpResponse
from pytest_django import Settings

from apps.accounts.actions import remove
from apps.accounts.models import User
from apps.audit import approvals
from apps.audit.models import Approval, AuditEvent
from apps.corpora.models import Corpus, CorpusGrant, Right
from apps.registry import export
from apps.registry.actions import quarantine
from apps.registry.models import Augmenter, Composition
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.storage import blobs
from tests.browser.making import fill
from tests.cast import Cast

WHY = {"reason": "A test bench without a network."}


@pytest.fixture
def model(cast: Cast, tmp_path: Path, settings: Settings) -> Composition:
    """Ada's composition, with weights of some bytes. Bo may read what it learned."""
    settings.HOME = tmp_path
    fill.cache_clear()
    found: Composition = next(row for row in fill(cast) if isinstance(row, Composition))
    with tenant_scope(cast.north):
        for kind, row in (("composition", found), ("augmenter", found.parts()[0])):
            folder = blobs().kind_folder(kind) / row.digest
            folder.mkdir()
            (folder / "model.safetensors").write_bytes(kind.encode() * 700)
    return found


def ask(cast: Cast, person: User, row: Composition | Augmenter) -> tuple[int, str, bytes]:
    """Status, place or name, and the bytes of an answer."""
    kind = "augmenters/" if isinstance(row, Augmenter) else ""
    client = cast.client(person)
    answer = client.post(f"/models/{kind}{row.pk}/export", WHY)
    if not isinstance(answer, StreamingHttpResponse):
        return answer.status_code, answer.headers.get("Location", ""), b""
    return answer.status_code, answer["Content-Disposition"], read(aiter(answer))


def read(pieces: AsyncIterator[bytes]) -> bytes:
    async def gather() -> bytes:
        return b"".join([piece async for piece in pieces])

    return async_to_sync(gather)()


def grant_export(cast: Cast, person: User) -> None:
    with tenant_scope(cast.north):
        for corpus in Corpus.objects.all():
            CorpusGrant.objects.create(corpus=corpus, user=person, right=Right.EXPORT)


def test_the_tar_holds_the_weights_and_what_they_are(cast: Cast, model: Composition) -> None:
    status, name, told = ask(cast, cast.ada, model)
    assert (status, name) == (200, 'attachment; filename="gauges-v1.tar"')
    with tarfile.open(fileobj=io.BytesIO(told)) as tar:
        names = tar.getnames()
        about = json.loads(tar.extractfile("export.json").read())  # type: ignore[union-attr]  # a file
        weights = tar.extractfile("augmenter-1/model.safetensors").read()  # type: ignore[union-attr]  # as above
    assert names == [
        "export.json",
        "composition/model.safetensors",
        "augmenter-1/model.safetensors",
    ]
    assert weights == b"augmenter" * 700
    assert about["parts"]["composition"]["digest"] == model.digest
    assert about["anchor"]["digest"] == model.anchor.digest
    with tenant_scope(cast.north):
        line = AuditEvent.objects.get(action="model.export")
    assert (line.by, line.facts["reason"]) == (cast.ada, WHY["reason"])


def test_whoever_may_only_read_takes_nothing_out(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        part = model.parts()[0]
    for row in (model, part):
        status, where, told = ask(cast, cast.bo, row)
        assert (status, told) == (302, b"")
        assert where.endswith(f"{row.pk}/")
        assert b"You lack it on" in cast.client(cast.bo).get(where).content
    grant_export(cast, cast.bo)
    assert ask(cast, cast.bo, part)[0] == 200
    assert ask(cast, cast.bo, model)[0] == 200
    with tenant_scope(cast.north):
        Corpus.objects.create(name="Another", owner=cast.ada)
        other = Corpus.objects.get(name="Another")
        Composition.objects.filter(pk=model.pk).update(closure=[*model.closure, other.pk])
    assert ask(cast, cast.bo, model)[0] == 404  # of the one he may not read there is no trace


def test_the_right_to_export_alone_opens_nothing(cast: Cast, model: Composition) -> None:
    grant_export(cast, cast.otto)  # he may not read it
    assert ask(cast, cast.otto, model)[0] == 404


def test_a_corpus_that_is_gone_and_a_quarantine_keep_the_weights_here(
    cast: Cast, model: Composition
) -> None:
    with tenant_scope(cast.north):
        part = model.parts()[0]
        quarantine(model, by=cast.ada, reason="A leak.")
        for row in (model, part):
            row.refresh_from_db()
            with pytest.raises(InputError, match=r"export\.barred"):
                export.begin(row, by=cast.ada, reason="Why not.")
        with pytest.raises(InputError, match=r"reason\.missing"):
            export.begin(model, by=cast.ada, reason=" ")
        Composition.objects.update(state=Composition.State.READY)
        blobs().delete("augmenter", part.digest)
        model.refresh_from_db()
        with pytest.raises(InputError, match=r"export\.missing"):
            export.begin(model, by=cast.ada, reason="Why not.")
        model.closure = [*model.closure, cast.north.pk]
        with pytest.raises(InputError, match="a corpus that is gone"):
            export.begin(model, by=cast.ada, reason="Why not.")
        assert not AuditEvent.objects.filter(action="model.export").exists()


def test_where_two_must_agree_the_second_may_read_it_too(cast: Cast, model: Composition) -> None:
    cast.north.settings = {"four_eyes": ["export"]}
    cast.north.save()
    assert ask(cast, cast.ada, model)[0] == 302
    with tenant_scope(cast.north):
        wish = Approval.objects.get(kind="export")
        approvals.decide(wish, "grant", by=cast.otto)  # who may not read it
    assert ask(cast, cast.ada, model)[0] == 302
    with tenant_scope(cast.north):
        Approval.objects.update(decided_by=cast.bo)
    assert ask(cast, cast.ada, model)[0] == 200
    assert ask(cast, cast.ada, model)[0] == 302  # used once


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["the right", "the membership", "the model"])
def test_a_file_on_its_way_breaks_off_when_the_right_ends(
    cast: Cast, model: Composition, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    grant_export(cast, cast.bo)
    monkeypatch.setattr(export, "ASKED_EVERY", 2)
    with tenant_scope(cast.north):
        pieces = export.begin(model, by=cast.bo, reason="A bench.")

    async def take() -> int:
        count = 0
        async for _piece in pieces:
            count += 1
            if count == 1:
                await async_end()
        return count

    async def async_end() -> None:

        await sync_to_async(end)()

    def end() -> None:
        if what == "the membership":
            remove(cast.north, cast.bo, by=cast.ada)
            return
        with tenant_scope(cast.north):
            if what == "the right":
                CorpusGrant.objects.filter(user=cast.bo, right=Right.EXPORT).delete()
            else:
                quarantine(model, by=cast.ada, reason="A leak.")

    with pytest.raises(InputError, match=r"export\.right"):
        async_to_sync(take)()


def test_no_role_gives_the_right(cast: Cast, model: Composition) -> None:

    Membership.objects.filter(user=cast.bo).update(role=Role.CURATOR)
    assert ask(cast, cast.bo, model)[0] == 302
