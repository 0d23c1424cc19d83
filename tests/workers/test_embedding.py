"""An embedding model from its folder to the passages that a question finds by its meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from apps.audit.models import AuditEvent
from apps.corpora.actions import create_corpus
from apps.corpora.lookup import Meaning, passages_for
from apps.corpora.models import Corpus, Passage
from apps.registry import embedders
from apps.registry.models import Embedder, Placement
from apps.tenants.scope import tenant_scope
from counterpoint.env import internal_secret
from tests.apps.chat.making import write
from tests.apps.registry.embedding import embedder_server, make_embedder, model_folder
from tests.cast import Cast
from tests.workers.test_hosting import ticked
from workers.hosting import Host
from workers.ingestion import embed

pytestmark = pytest.mark.django_db(transaction=True)

ABOUT = ("Pressure up to 40 bar. ", "Made in Portugal. ", "Sold since 1998. ")


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host("here", threads=1, secret=internal_secret(), logs=Path(settings.HOME) / "logs")
    yield host
    host.stop()


@pytest.fixture
def corpus(cast: Cast) -> Corpus:
    with tenant_scope(cast.north):
        made = create_corpus("papers", by=cast.ada)
        write(made, "notes.md", *ABOUT)
    return made


def read(row: Embedder) -> None:
    embed(str(row.tenant_id), str(row.pk))


def vectors(cast: Cast) -> dict[str, list[float]]:
    with tenant_scope(cast.north):
        rows = Passage.objects.exclude(embedded_by="").values_list("body", "vector")
        return {body: list(map(float, vector)) for body, vector in rows}


def test_a_folder_is_brought_in_served_and_reads_the_passages(
    cast: Cast, corpus: Corpus, host: Host
) -> None:
    call_command("import_embedder", str(model_folder()), tenant=cast.north.slug, name="meaning")
    with tenant_scope(cast.north):
        row = Embedder.objects.get()
        assert (row.in_use, row.width, row.licence) == (True, 32, "unknown")
        assert AuditEvent.objects.filter(action="embedder.import").exists()
    read(row)
    assert vectors(cast) == {}  # not served yet: nobody reads, nothing fails

    def is_served() -> bool:
        with tenant_scope(cast.north):
            return Placement.objects.serving().filter(embedder=row).exists()

    ticked(host, is_served)
    read(row)
    found = vectors(cast)
    assert set(found) == set(ABOUT)
    assert all(sum(x * x for x in one) == pytest.approx(1, abs=1e-4) for one in found.values())
    read(row)  # once more changes nothing
    assert vectors(cast) == found
    call_command("import_embedder", str(model_folder(16)), tenant=cast.north.slug, name="other")

    def is_replaced() -> bool:
        with tenant_scope(cast.north):
            rows = Placement.objects.serving().exclude(embedder=None)
            return list(rows.values_list("embedder__width", flat=True)) == [16]

    ticked(host, is_replaced)
    assert len(host.servers) == 1


def test_a_question_finds_by_meaning_what_shares_no_word_with_it(
    cast: Cast, corpus: Corpus, tmp_path: Path
) -> None:
    row = make_embedder(cast.north, tmp_path / "model", address=embedder_server().address)
    read(row)
    told = vectors(cast)
    with tenant_scope(cast.north):
        assert passages_for([corpus.pk], "Zeppelin") == []
        for body in ABOUT:
            meaning = Meaning(row.digest, told[body])
            best = [each.body for each in passages_for([corpus.pk], "Zeppelin", meaning)]
            assert (best[0], len(best)) == (body, 3)
            strange = Meaning("f" * 64, told[body])  # of an embedder that read nothing here
            assert passages_for([corpus.pk], "Zeppelin", strange) == []
        both = passages_for([corpus.pk], "Portugal?", Meaning(row.digest, told[ABOUT[1]]))
        assert both[0].body == ABOUT[1]
    with tenant_scope(cast.south):
        assert passages_for([corpus.pk], "Portugal", Meaning(row.digest, told[ABOUT[1]])) == []


def test_an_embedder_of_another_width_reads_everything_anew(
    cast: Cast, corpus: Corpus, tmp_path: Path
) -> None:
    read(make_embedder(cast.north, tmp_path / "one", address=embedder_server().address))
    assert {len(vector) for vector in vectors(cast).values()} == {32}
    wider = embedder_server(64)
    row = make_embedder(cast.north, tmp_path / "two", address=wider.address, width=64)
    with tenant_scope(cast.north):
        assert list(Embedder.objects.filter(in_use=True)) == [row]
    read(row)
    assert {len(vector) for vector in vectors(cast).values()} == {64}


def test_vectors_of_another_width_than_was_promised_are_not_kept(
    cast: Cast, corpus: Corpus, tmp_path: Path
) -> None:
    row = make_embedder(cast.north, tmp_path / "model", address=embedder_server(64).address)
    read(row)
    assert vectors(cast) == {}
    with tenant_scope(cast.north):
        assert Embedder.objects.get().reading_at is None  # and the next one may try


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", ""])
def test_without_a_server_words_alone_are_looked_for(
    cast: Cast, corpus: Corpus, tmp_path: Path, address: str
) -> None:
    read(make_embedder(cast.north, tmp_path / "model", address=address))
    assert vectors(cast) == {}
    assert asyncio.run(embedders.meaning_of(cast.north.pk, "Where?")) is None


def test_one_worker_at_a_time_reads(cast: Cast, corpus: Corpus, tmp_path: Path) -> None:
    row = make_embedder(cast.north, tmp_path / "model", address=embedder_server().address)
    with tenant_scope(cast.north):
        assert embedders.begin_reading(row.pk)
        assert not embedders.begin_reading(row.pk)
    read(row)
    assert vectors(cast) == {}
    with tenant_scope(cast.north):
        Embedder.objects.update(reading_at="2020-01-01T00:00Z")  # it died
    read(row)
    assert len(vectors(cast)) == len(ABOUT)


def test_a_folder_that_is_none_is_refused_in_words(cast: Cast, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CommandError):
        call_command("import_embedder", str(tmp_path), tenant=cast.north.slug)
    with tenant_scope(cast.north):
        assert not Embedder.objects.exists()
