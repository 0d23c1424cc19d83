"""Corpora kept up to date from a folder, and from a process that speaks S3 on loopback."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from django.conf import LazySettings
from obstore.store import S3Store

from apps.corpora import actions, connectors
from apps.corpora.connectors.folder import Folder
from apps.corpora.models import Connection, Corpus, Document, SourceFile, Upload, UploadItem
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.corpora.making import file_as_text, make_corpus
from tests.apps.corpora.test_pages import page, post, url
from tests.cast import Cast
from workers.ingestion import synchronise


class Away(Protocol):
    """A place outside, as whoever keeps it sees it."""

    def put(self, path: str, text: str) -> None: ...
    def remove(self, path: str) -> None: ...
    def break_off(self) -> None: ...


class Disk:
    def __init__(self, top: Path) -> None:
        self.top = top

    def put(self, path: str, text: str) -> None:
        (self.top / path).parent.mkdir(parents=True, exist_ok=True)
        (self.top / path).write_text(text)

    def remove(self, path: str) -> None:
        (self.top / path).unlink()

    def break_off(self) -> None:
        self.top.rename(self.top.with_name("elsewhere"))


class Objects:
    def __init__(self, endpoint: str) -> None:
        self.bucket = f"{endpoint}/documents"
        httpx.put(self.bucket).raise_for_status()
        self.store = S3Store(
            "documents",
            prefix="hr",
            endpoint=endpoint,
            access_key_id="somebody",
            secret_access_key="somebody",
            client_options={"allow_http": True},
        )

    def put(self, path: str, text: str) -> None:
        self.store.put(path, text.encode())

    def remove(self, path: str) -> None:
        self.store.delete(path)

    def break_off(self) -> None:
        self.remove("kept.txt")
        httpx.delete(self.bucket).raise_for_status()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server of objects."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  a large library, for this alone

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def away(request: pytest.FixtureRequest, tmp_path: Path, settings: LazySettings) -> Away:
    """A place that IT named "archive" for North."""
    there = tmp_path / "mounted"
    there.mkdir()
    told: dict[str, Any] = {"kind": request.param, "tenants": ["north"]}
    place: Away
    if request.param == "folder":
        place, told = Disk(there), told | {"path": str(there)}
    else:
        endpoint = request.getfixturevalue("s3")
        httpx.post(f"{endpoint}/moto-api/reset")
        (tmp_path / "key").write_text("somebody")
        place = Objects(endpoint)
        told |= {"bucket": "documents", "prefix": "hr", "endpoint": endpoint}
        told |= {"key_file": str(tmp_path / "key"), "secret_file": str(tmp_path / "key")}
    settings.SOURCES_FILE = str(tmp_path / "sources.json")
    (tmp_path / "sources.json").write_text(json.dumps({"archive": told}))
    return place


@pytest.fixture
def corpus(cast: Cast) -> Corpus:
    return make_corpus(cast)


def round_of(cast: Cast, corpus: Corpus) -> Connection:
    """Connect, ask, and do what the ingest worker does."""
    post(cast, url("connect", corpus), {"source": "archive"})
    with tenant_scope(cast.north):
        connection: Connection = corpus.connections.get()
    post(cast, url("synchronise", connection))
    synchronise(str(cast.north.pk), str(connection.pk))
    with tenant_scope(cast.north):
        for upload in Upload.objects.all():
            file_as_text(cast, upload)
        connection.refresh_from_db()
    return connection


def states(cast: Cast) -> list[tuple[str, str]]:
    with tenant_scope(cast.north):
        rows = Document.objects.order_by("path", "created_at")
        return list(rows.values_list("path", "state"))


def test_only_what_is_new_or_changed_travels(cast: Cast, away: Away, corpus: Corpus) -> None:
    away.put("a.txt", "Country: Peru")
    away.put("deep/b.txt", "Country: Chile")
    away.put("program.exe", "MZ")
    for _ in range(2):
        round_of(cast, corpus)
    assert states(cast) == [("a.txt", "ready"), ("deep/b.txt", "ready")]
    with tenant_scope(cast.north):
        assert UploadItem.objects.count() == 3
    away.put("a.txt", "Country: Ecuador")
    round_of(cast, corpus)
    assert states(cast)[:2] == [("a.txt", "withdrawn"), ("a.txt", "ready")]
    with tenant_scope(cast.north):
        assert UploadItem.objects.count() == 4


def test_what_is_gone_is_proposed_and_withdrawn_only_by_a_person(
    cast: Cast, away: Away, corpus: Corpus
) -> None:
    away.put("a.txt", "Country: Peru")
    away.put("kept.txt", "Country: Chile")
    round_of(cast, corpus)
    away.remove("a.txt")
    connection = round_of(cast, corpus)
    assert states(cast) == [("a.txt", "ready"), ("kept.txt", "ready")]
    assert "1 document stands here whose file is gone there" in page(
        cast, connection.get_absolute_url()
    )
    post(cast, url("withdraw_gone", connection))
    assert states(cast) == [("a.txt", "withdrawn"), ("kept.txt", "ready")]
    away.break_off()
    connection = round_of(cast, corpus)
    assert connection.code == "source.unreachable"
    assert "The place cannot be read" in page(cast, connection.get_absolute_url())
    with tenant_scope(cast.north):
        assert not actions.proposed(connection).exists()


@pytest.mark.parametrize("away", ["folder"], indirect=True)
def test_a_renamed_file_is_not_proposed(cast: Cast, away: Away, corpus: Corpus) -> None:
    away.put("a.txt", "Country: Peru")
    round_of(cast, corpus)
    away.remove("a.txt")
    away.put("b.txt", "Country: Peru")
    connection = round_of(cast, corpus)
    with tenant_scope(cast.north):
        assert not actions.proposed(connection).exists()


@pytest.mark.parametrize("away", ["folder"], indirect=True)
def test_a_file_that_cannot_be_read_stops_no_other_and_is_tried_again(
    cast: Cast, away: Disk, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    away.put("a.txt", "Country: Peru")
    away.put("b.txt", "Country: Chile")
    read = Folder.read

    def refuse_one(self: Folder, found: connectors.Found) -> Iterator[bytes]:
        if found.path == "a.txt":
            raise InputError("source.unreachable", why="Permission denied")
        return read(self, found)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", refuse_one)
        round_of(cast, corpus)
    assert states(cast) == [("b.txt", "ready")]
    round_of(cast, corpus)
    assert states(cast) == [("a.txt", "ready"), ("b.txt", "ready")]


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (inside / "link.txt").symlink_to(outside / "secret.txt")
    (inside / "folder").symlink_to(outside)
    os.mkfifo(inside / "pipe.txt")
    folder = Folder(str(inside))
    assert list(folder.files()) == []
    for path in ("link.txt", "folder/secret.txt"):
        with pytest.raises(InputError):
            list(folder.read(connectors.Found(path, 6, "")))


@pytest.mark.parametrize("away", ["folder"], indirect=True)
def test_a_place_is_only_for_the_tenants_that_it_names(
    cast: Cast, away: Away, corpus: Corpus
) -> None:
    with tenant_scope(cast.north):
        assert [each.name for each in actions.places()] == ["archive"]
    with tenant_scope(cast.south):
        assert actions.places() == []
    with tenant_scope(cast.north), pytest.raises(InputError, match=r"source\.gone"):
        actions.connect(corpus, "other", by=cast.ada)


def test_a_list_of_places_that_is_no_list_is_told(
    cast: Cast, corpus: Corpus, tmp_path: Path, settings: LazySettings
) -> None:
    settings.SOURCES_FILE = str(tmp_path / "sources.json")
    (tmp_path / "sources.json").write_text("[1")
    shown = page(cast, f"{corpus.get_absolute_url()}?tab=sources")
    assert "The places to synchronise from cannot be understood" in shown


@pytest.mark.parametrize("away", ["folder"], indirect=True)
def test_what_came_stays_when_the_place_is_disconnected(
    cast: Cast, away: Away, corpus: Corpus
) -> None:
    away.put("a.txt", "Country: Peru")
    connection = round_of(cast, corpus)
    synchronise(str(cast.north.pk), str(connection.pk))  # a message that comes twice
    post(cast, url("disconnect", connection))
    assert states(cast) == [("a.txt", "ready")]
    with tenant_scope(cast.north):
        assert not SourceFile.objects.exists()
