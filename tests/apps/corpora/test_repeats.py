"""Paragraphs that many documents share: found, kept out of what models learn, taken in again."""

from __future__ import annotations

import random

from apps.corpora import actions, manifests, repeats
from apps.corpora.models import Corpus, Repeat
from apps.corpora.screening import Finding, Kind, redacted
from apps.tenants.scope import tenant_scope
from counterpoint.storage import blobs
from tests.apps.corpora.making import file_texts, make_corpus
from tests.apps.corpora.test_pages import page, post, url
from tests.cast import Cast
from workers import ingestion

LEGAL = "This message is confidential and meant\nfor the person it is addressed to alone."


def learned(cast: Cast, corpus: Corpus) -> list[str]:
    """What models would learn of a corpus, screened anew first."""
    ingestion.screen(str(cast.north.pk), str(corpus.pk))
    with tenant_scope(cast.north):
        entries = list(manifests.entries(actions.freeze(corpus, by=cast.ada)))
        return [blobs().open("text", entry.training).read().decode() for entry in entries]


def test_what_repeats_is_kept_out_by_a_person_and_taken_in_again(cast: Cast) -> None:
    corpus = make_corpus(cast)
    texts = {f"{n}.txt": f"About number {n} alone {n * 7}.\n\n{LEGAL}\n" for n in range(6)}
    file_texts(cast, corpus, texts)
    with tenant_scope(cast.north):
        corpus.documents.update(duplicate_of=None, similarity=None, state="ready")
    post(cast, url("repeats", corpus), {"act": "look"})
    for _ in range(2):
        ingestion.repeats(str(cast.north.pk), str(corpus.pk))
    shown = page(cast, url("repeats", corpus))
    assert "in 6 documents" in shown
    assert all("confidential" in text for text in learned(cast, corpus))
    with tenant_scope(cast.north):
        known = Repeat.objects.get()
    for act, is_there in (("out", False), ("in", True)):
        post(cast, url("repeats", corpus), {"act": act, "paragraph": [str(known.pk), "nonsense"]})
        found = learned(cast, corpus)
        assert len(found) == 6
        assert all(("confidential" in text) == is_there for text in found)
        assert all("About number" in text for text in found)


def test_a_new_document_comes_without_what_is_kept_out(cast: Cast) -> None:
    corpus = make_corpus(cast)
    with tenant_scope(cast.north):
        words = repeats.key(" ".join(LEGAL.split()))
        Repeat.objects.create(corpus=corpus, key=words, sample=LEGAL, documents=9, left_out=True)
    file_texts(cast, corpus, {"a.txt": f"Country: Peru\n\n{LEGAL.upper()}\n"})
    assert learned(cast, corpus) == ["Country: Peru\n\n\n"]


def test_headings_and_facts_are_too_short_to_be_boilerplate() -> None:
    assert list(repeats.paragraphs("# Catalogue\n\nCountry: Peru\n\n| a | b |\n")) == []
    [one] = repeats.paragraphs(f"# Catalogue\n\n{LEGAL}\n\nEnd")
    assert one.key == repeats.key(" ".join(LEGAL.split()))


def test_what_stands_in_a_share_of_the_documents_is_found_in_flat_memory() -> None:
    chance, counting, most = random.Random(3), repeats.Counting(), 0  # noqa: S311  no secret
    for number in range(20_000):
        own = f"Paragraph of document {number} alone, long enough to be counted."
        shared = LEGAL if chance.random() < 0.03 else ""
        counting.add(f"{own}\n\n{shared}")
        most = max(most, len(counting._seen))
    [(count, sample)] = counting.many().values()
    assert sample == LEGAL
    assert 500 < count < 700
    assert most < 2_500


def test_what_is_cut_leaves_no_end_of_a_secret_behind() -> None:
    text = "boilerplate 4111-1111 and on"
    card = Finding(12, 21, Kind.CARD)
    assert redacted(text, [card], [(0, 16)]) == "[card redacted] and on"
    assert redacted(text, [card], [(0, 21)]) == " and on"
    assert redacted(text, [card], [(14, 25)]) == "boilerplate [card redacted] on"
