"""Files in pieces: what tus 1.0 promises a sender, and what the tenant is promised of a sender."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from apps.accounts import quotas
from apps.accounts.models import Quota
from apps.corpora import actions
from apps.corpora.actions import quota
from apps.corpora.actions.transfers import part
from apps.corpora.models import Corpus, StorageUse, Transfer, UploadItem
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.storage import blobs
from tests.apps.corpora.making import make_corpus, outcomes, read_all, send, take_in
from tests.cast import Cast

WORDS = b"Country: Peru. " * 40
HEADS = {"HTTP_TUS_RESUMABLE": "1.0.0"}


def meta(**values: str) -> str:
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in values.items())


def begin(
    client: Client, corpus: Corpus, length: int, path: str = "big.txt", **more: str
) -> HttpResponse:
    return client.post(
        reverse("corpora:transfers", kwargs={"code": corpus.pk}),
        HTTP_UPLOAD_LENGTH=str(length),
        HTTP_UPLOAD_METADATA=meta(path=path, **more),
        **HEADS,  # type: ignore[arg-type]  # header names as Django's client wants them
    )


def piece(client: Client, address: str, offset: object, body: bytes, **more: Any) -> HttpResponse:
    heads = {"HTTP_UPLOAD_OFFSET": str(offset)} | HEADS | more
    return client.patch(address, body, content_type="application/offset+octet-stream", **heads)


def where(client: Client, address: str) -> int:
    answer = client.head(address, **HEADS)  # type: ignore[arg-type]  # as above
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    return int(answer["Upload-Offset"])


def test_the_server_says_what_it_speaks(cast: Cast) -> None:
    address = reverse("corpora:transfers", kwargs={"code": make_corpus(cast).pk})
    answer = cast.client(cast.ada).options(address)
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert "creation" in answer["Tus-Extension"]
    assert int(answer["Tus-Max-Size"]) > 0
    refused = cast.client(cast.ada).post(address, HTTP_TUS_RESUMABLE="0.2.0")
    assert (refused.status_code, refused["Tus-Version"]) == (412, "1.0.0")


def test_a_file_in_pieces_arrives_whole_and_is_read_like_any_other(cast: Cast) -> None:
    corpus, client = make_corpus(cast), cast.client(cast.ada)
    begun = begin(client, corpus, len(WORDS), "folder/big.txt")
    assert begun.status_code == 201
    address = begun["Location"]
    assert where(client, address) == 0
    assert piece(client, address, 0, WORDS[:100])["Upload-Offset"] == "100"
    assert where(client, address) == 100
    last = piece(client, address, 100, WORDS[100:])
    assert (last.status_code, last["Upload-Offset"]) == (204, str(len(WORDS)))
    with tenant_scope(cast.north):
        item = UploadItem.objects.select_related("upload").get()
        with blobs().open("original", item.digest) as file:
            assert file.read() == WORDS
        assert not Transfer.objects.exists()
    read_all(cast, item.upload)
    assert outcomes(cast, item.upload) == {"folder/big.txt": "stored"}


def test_the_first_piece_may_come_with_the_beginning(cast: Cast) -> None:
    client = cast.client(cast.ada)
    answer = client.post(
        reverse("corpora:transfers", kwargs={"code": make_corpus(cast).pk}),
        WORDS[:50],
        content_type="application/offset+octet-stream",
        HTTP_UPLOAD_LENGTH=str(len(WORDS)),
        HTTP_UPLOAD_METADATA=meta(filename="big.txt"),
        **HEADS,  # type: ignore[arg-type]  # as above
    )
    assert (answer.status_code, answer["Upload-Offset"]) == (201, "50")
    assert where(client, answer["Location"]) == 50


@pytest.mark.parametrize(
    ("offset", "body", "status"),
    [(99, b"x", 409), (101, b"x", 409), ("", b"x", 400), ("-1", b"x", 400), (100, WORDS, 413)],
)
def test_a_piece_at_the_wrong_place_changes_nothing(
    cast: Cast, offset: object, body: bytes, status: int
) -> None:
    client = cast.client(cast.ada)
    address = begin(client, make_corpus(cast), len(WORDS))["Location"]
    piece(client, address, 0, WORDS[:100])
    assert piece(client, address, offset, body).status_code == status
    assert where(client, address) == 100
    assert piece(client, address, 100, WORDS[100:]).status_code == 204


def test_a_finished_upload_takes_nothing_more(cast: Cast) -> None:
    client = cast.client(cast.ada)
    address = begin(client, make_corpus(cast), len(WORDS))["Location"]
    piece(client, address, 0, WORDS)
    for offset, body in ((0, b"others"), (len(WORDS), b"more")):
        assert piece(client, address, offset, body).status_code >= 400
    assert client.delete(address, **HEADS).status_code >= 400  # type: ignore[arg-type]  # as above
    with tenant_scope(cast.north):
        item = UploadItem.objects.get()
        with blobs().open("original", item.digest) as file:
            assert file.read() == WORDS


def test_what_a_crash_left_behind_the_position_is_cut_away(cast: Cast) -> None:
    client = cast.client(cast.ada)
    address = begin(client, make_corpus(cast), len(WORDS))["Location"]
    piece(client, address, 0, WORDS[:100])
    with tenant_scope(cast.north):
        left = part(Transfer.objects.get()) / "100"
    left.write_bytes(b"a piece whose row was never committed")
    assert where(client, address) == 100
    piece(client, address, 100, WORDS[100:])
    with tenant_scope(cast.north):
        digest = UploadItem.objects.get().digest
        with blobs().open("original", digest) as file:
            assert file.read() == WORDS


def test_a_transfer_that_an_older_release_began_goes_on(cast: Cast) -> None:
    client = cast.client(cast.ada)
    address = begin(client, make_corpus(cast), len(WORDS))["Location"]
    with tenant_scope(cast.north):
        row = Transfer.objects.get()
        part(row).write_bytes(WORDS[:100] + b"bytes behind the position")
        Transfer.objects.update(position=100)
    assert piece(client, address, 100, WORDS[100:]).status_code == 204
    with (
        tenant_scope(cast.north),
        blobs().open("original", UploadItem.objects.get().digest) as file,
    ):
        assert file.read() == WORDS


def test_another_type_of_body_or_method_is_refused(cast: Cast) -> None:
    client = cast.client(cast.ada)
    address = begin(client, make_corpus(cast), 9)["Location"]
    wrong = client.patch(address, b"x", content_type="text/plain", HTTP_UPLOAD_OFFSET="0", **HEADS)  # type: ignore[arg-type]  # as above
    assert wrong.status_code == 415
    assert client.post(address, **HEADS).status_code == 405  # type: ignore[arg-type]  # as above
    meant = client.post(address, HTTP_X_HTTP_METHOD_OVERRIDE="HEAD", **HEADS)  # type: ignore[arg-type]  # as above
    assert meant.status_code == 200


def test_only_its_sender_goes_on_with_a_file(cast: Cast) -> None:
    corpus = make_corpus(cast)
    address = begin(cast.client(cast.ada), corpus, 9)["Location"]
    with tenant_scope(cast.north):
        actions.grant(corpus, cast.bo, "curate", by=cast.ada)
    for stranger in (cast.bo, cast.cy):
        answers = {
            piece(cast.client(stranger), address, 0, b"x").status_code,
            cast.client(stranger).delete(address, **HEADS).status_code,  # type: ignore[arg-type]  # as above
        }
        assert answers <= {404, 403}
    assert where(cast.client(cast.ada), address) == 0


def test_a_sender_who_may_no_longer_add_is_stopped(cast: Cast) -> None:
    corpus = make_corpus(cast)
    with tenant_scope(cast.north):
        given = actions.grant(corpus, cast.ada, "curate", by=cast.ada)
        corpus.owner = cast.bo
        corpus.save()
    client = cast.client(cast.ada)
    address = begin(client, corpus, 9)["Location"]
    with tenant_scope(cast.north):
        given.delete()
    assert piece(client, address, 0, b"x").status_code == 404


@pytest.mark.parametrize(
    ("path", "length", "code"),
    [
        ("a.exe", 5, "file.type"),
        ("../a.txt", 5, "file.path"),
        ("a.txt", 0, "file.empty"),
        ("a.txt", 1 << 45, "file.too_large"),
    ],
)
def test_what_cannot_be_taken_is_said_before_a_byte_is_sent(
    cast: Cast, path: str, length: int, code: str
) -> None:
    answer = begin(cast.client(cast.ada), make_corpus(cast), length, path)
    assert answer.status_code in (413, 422)
    assert answer.content.decode().endswith(".")
    with tenant_scope(cast.north):
        assert UploadItem.objects.get().code == code


def test_beginnings_that_make_no_sense_are_refused(cast: Cast) -> None:
    client, corpus = cast.client(cast.ada), make_corpus(cast)
    address = reverse("corpora:transfers", kwargs={"code": corpus.pk})
    heads = {"HTTP_UPLOAD_LENGTH": "5", "HTTP_UPLOAD_METADATA": meta(path="a.txt")} | HEADS
    for wrong in (
        {"HTTP_UPLOAD_LENGTH": "five"},
        {"HTTP_UPLOAD_METADATA": "path %%%"},
        {"HTTP_UPLOAD_METADATA": meta(path="a.txt", upload="no id")},
    ):
        assert client.post(address, **(heads | wrong)).status_code == 400  # type: ignore[arg-type]  # as above
    with tenant_scope(cast.north):
        assert not UploadItem.objects.exists()


def test_a_sender_may_give_up(cast: Cast) -> None:
    client = cast.client(cast.ada)
    address = begin(client, make_corpus(cast), 9)["Location"]
    piece(client, address, 0, b"x")
    assert client.delete(address, **HEADS).status_code == 204  # type: ignore[arg-type]  # as above
    assert client.head(address, **HEADS).status_code == 404  # type: ignore[arg-type]  # as above
    with tenant_scope(cast.north):
        assert not UploadItem.objects.exists()


def test_a_file_that_never_came_is_an_outcome_with_its_reason(cast: Cast) -> None:
    client = cast.client(cast.ada)
    begin(client, make_corpus(cast), 9)
    with tenant_scope(cast.north):
        assert actions.expire_transfers() == 0
        Transfer.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
        row = Transfer.objects.select_related("upload").get()
        assert row.upload.tally().sending == 1
        assert actions.expire_transfers() == 1
        tally = row.upload.tally()
        assert (tally.sending, tally.rejected, tally.received) == (0, 1, 1)
        assert "did not arrive whole" in UploadItem.objects.get().reason


def test_whoever_comes_back_is_told_what_arrived(cast: Cast) -> None:
    corpus = make_corpus(cast)
    upload = send(cast, corpus, {"a.txt": b"words"})
    address = reverse("corpora:received", kwargs={"code": upload.pk})
    assert cast.client(cast.ada).get(address).json() == {"files": [["a.txt", 5]]}
    begin(cast.client(cast.ada), corpus, 9, upload=str(upload.pk))
    with tenant_scope(cast.north):
        assert Transfer.objects.get().upload_id == upload.pk


# ---- quota ---------------------------------------------------------------------------------------


def set_quota(cast: Cast, allowed: int) -> None:
    with tenant_scope(cast.north):
        StorageUse.objects.filter(pk=quota.use().pk).update(allowed=allowed)


def used(cast: Cast) -> int:
    with tenant_scope(cast.north):
        return quota.use().used


def test_a_quota_is_never_passed_and_says_so(cast: Cast) -> None:
    corpus = make_corpus(cast)
    set_quota(cast, 8)
    upload = send(cast, corpus, {"a.txt": b"words", "b.txt": b"words!", "c.txt": b"xyz"})
    assert outcomes(cast, upload) == {
        "a.txt": "received",
        "b.txt": "quota.full",
        "c.txt": "received",
    }
    assert used(cast) == 8
    assert begin(cast.client(cast.ada), corpus, 1).status_code == 413


def test_a_race_for_the_last_bytes_has_one_winner(cast: Cast, monkeypatch: Any) -> None:
    corpus = make_corpus(cast)
    set_quota(cast, 8)
    monkeypatch.setattr(quota, "room", lambda _by: None)  # both looked before either was charged
    first = send(cast, corpus, {"a.txt": b"words"})
    second = send(cast, corpus, {"b.txt": b"other"})
    assert outcomes(cast, first) == {"a.txt": "received"}
    assert outcomes(cast, second) == {"b.txt": "quota.full"}
    assert used(cast) == 5


def test_a_duplicate_is_not_charged_twice(cast: Cast) -> None:
    corpus = make_corpus(cast)
    take_in(cast, corpus, {"a.txt": b"words", "b.txt": b"words"})
    assert used(cast) == 5


def test_a_persons_and_a_groups_storage_is_bounded_and_told(cast: Cast) -> None:
    corpus = make_corpus(cast)
    big = b"words " * 150_000  # 0.86 MB
    with tenant_scope(cast.north):
        mine = Quota.objects.create(kind=Quota.Kind.STORAGE, user=cast.ada, amount=1)
    upload = send(cast, corpus, {"a.txt": big, "b.txt": big + b"!"})
    assert outcomes(cast, upload) == {"a.txt": "received", "b.txt": "quota.lasting"}
    with tenant_scope(cast.north):
        said = upload.items.get(path="b.txt").reason
        assert "1 megabytes stored is reached for you" in said
        assert quota.room(cast.bo) is None
        (told,) = quotas.budgets(cast.ada, [Quota.Kind.STORAGE])
        assert (told.used, told.left, told.renews) == (1, 0, 0)
        with pytest.raises(InputError, match=r"quota\.lasting"):
            quotas.require(cast.ada, Quota.Kind.STORAGE)
        with pytest.raises(InputError, match=r"quota\.lasting"):  # who saw room before the first
            quota.charge(len(big), by=cast.ada)
        mine.delete()
    assert begin(cast.client(cast.ada), corpus, len(big)).status_code == 201


# ---- pausing -------------------------------------------------------------------------------------


def test_a_paused_upload_waits_and_goes_on(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"one", "b.txt": b"two"})
    client = cast.client(cast.ada)
    client.post(reverse("corpora:pause", kwargs={"code": upload.pk}))
    with tenant_scope(cast.north):
        waiting = upload.items.first()
        assert waiting is not None
        assert actions.begin(waiting.pk) is None
        assert actions.begin_next(upload.pk) is None
    assert "Paused since" in client.get(upload.get_absolute_url()).content.decode()
    client.post(reverse("corpora:resume", kwargs={"code": upload.pk}))
    read_all(cast, upload)
    assert set(outcomes(cast, upload).values()) == {"stored"}


def test_what_is_set_aside_is_an_outcome_and_can_be_brought_back(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"one", "b.txt": b"two"})
    cast.client(cast.ada).post(reverse("corpora:cancel", kwargs={"code": upload.pk}))
    assert set(outcomes(cast, upload).values()) == {"upload.cancelled"}
    with tenant_scope(cast.north):
        tally = upload.tally()
        assert (tally.received, tally.rejected) == (2, 2)
        assert actions.retry(upload, by=cast.ada) == 2


# ---- a law ---------------------------------------------------------------------------------------

moves = st.lists(
    st.tuples(st.sampled_from(["piece", "wrong", "head"]), st.integers(1, 40)), max_size=8
)


@effort(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves)
def test_however_it_is_cut_what_arrives_is_what_was_sent(
    cast: Cast, steps: list[tuple[str, int]]
) -> None:
    with tenant_scope(cast.north):
        corpus = Corpus.objects.first() or actions.create_corpus("Law", by=cast.ada)
    client, body, at = cast.client(cast.ada), WORDS[:90], 0
    address = begin(client, corpus, len(body))["Location"]
    for kind, size in [*steps, ("piece", len(body))]:
        if at == len(body):
            break
        if kind == "wrong":
            assert piece(client, address, at + size, b"x").status_code == 409
        elif kind == "head":
            assert where(client, address) == at
        else:
            some = body[at : at + size]
            assert piece(client, address, at, some).status_code == 204
            at += len(some)
    with tenant_scope(cast.north):
        newest = UploadItem.objects.latest("created_at")
        with blobs().open("original", newest.digest) as file:
            assert file.read() == body
