"""A sentence is planted in what people upload; no file that is kept says it in plain."""

from __future__ import annotations

import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
from pytest_django import Settings

from apps.corpora.models import Document
from apps.tenants.scope import tenant_scope
from counterpoint.shelves import SHARDS, STUDIES
from counterpoint.storage import blobs
from tests.apps.corpora.making import as_mail, as_zip, make_corpus, send, take_in
from tests.apps.corpora.test_transfers import begin, piece
from tests.cast import Cast

SENTENCE = "The heron ledger of Tarn Lake closes at eleven."


def found_in(folder: Path) -> list[str]:
    """Files that say the sentence, and those that say it to whoever reads other encodings."""
    wanted = [SENTENCE.encode(code) for code in ("utf-8", "utf-16-le")]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(p) for p in files if any(each in p.read_bytes() for each in wanted)]


def test_no_file_of_the_home_folder_says_what_documents_say(
    cast: Cast, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HOME, scratch = tmp_path / "home", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    corpus, words = make_corpus(cast), SENTENCE.encode()
    take_in(cast, corpus, {"a.txt": words, "b.zip": as_zip({"c.txt": words + b" So."})})
    take_in(cast, corpus, {"m.eml": as_mail(SENTENCE, note_txt=words + b" Thus.")})
    send(cast, corpus, {"waiting.txt": words + b" Still."})
    client = cast.client(cast.ada)
    address = begin(client, corpus, 900)["Location"]
    assert piece(client, address, 0, words * 3).status_code == 204  # and then the lid is closed
    finished = tmp_path / "output"
    finished.mkdir()
    (finished / "items.jsonl").write_bytes(words)
    with tenant_scope(cast.north):
        blobs().adopt_folder("report", finished, "a" * 64)
        work = tmp_path / "work"
        STUDIES.bring(corpus.pk, work)
        (work / f"{uuid4().hex}.jsonl").write_bytes(words)
        STUDIES.keep(corpus.pk, work)
        work.mkdir()
        (work / "cut.json").write_bytes(words)
        SHARDS.keep(corpus.pk, work, "*")
        said = [blobs().open("text", row.text_digest).read() for row in Document.objects.all()]
        STUDIES.bring(corpus.pk, work)
    assert sum(words in text for text in said) == 4  # they were read, and open for their tenant
    assert [path.read_bytes() for path in work.iterdir()] == [words]
    assert found_in(tmp_path / "home") == []
    assert list(scratch.iterdir()) == []  # nor does anything plain go through the system's folder
    assert len(found_in(work)) == 1  # the search finds what is there
