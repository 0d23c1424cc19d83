"""Freezing as a job: orders, several corpora, who may use what comes of it, the Parquet list."""

from __future__ import annotations

import io
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.exceptions import PermissionDenied

from apps.corpora import actions, manifests
from apps.corpora.actions import Difference, difference
from apps.corpora.manifests import Entry
from apps.corpora.models import Corpus, Freezing, Snapshot
from apps.registry.closure import can_use, closure_of
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.corpora.making import file_texts, make_corpus, send
from tests.apps.corpora.test_pages import page, post, url
from tests.apps.corpora.test_snapshots import add, lines, rows
from tests.apps.registry.making import make_augmenter, make_composition
from tests.apps.runs.making import make_anchor
from tests.cast import Cast
from workers.ingestion import count_tokens, token_counter
from workers.ingestion import freeze as freeze_task


@pytest.fixture
def two(cast: Cast) -> tuple[Corpus, Corpus]:
    """Two corpora of Ada's, each with two documents; one original stands in both."""
    one, other = make_corpus(cast, "Handbook"), make_corpus(cast, "Catalogue")
    file_texts(cast, one, {"a.txt": "Country: Peru", "same.txt": "Words in both"})
    file_texts(cast, other, {"b.txt": "Country: Chile", "same.txt": "Words in both"})
    return one, other


def one_document(cast: Cast, text: str = "Country: Peru") -> Corpus:
    corpus = make_corpus(cast)
    file_texts(cast, corpus, {"note.txt": text})
    return corpus


def frozen(cast: Cast, *corpora: Corpus) -> Snapshot:
    with tenant_scope(cast.north):
        return actions.freeze(*corpora, by=cast.ada)


def order(cast: Cast, *corpora: Corpus) -> Freezing:
    with tenant_scope(cast.north):
        return actions.order_freeze(*corpora, by=cast.ada)


def asked(cast: Cast, address: str) -> int:
    """What Bo is answered."""
    answer: Any = cast.client(cast.bo).get(address)
    if answer.streaming:
        list(answer.streaming_content)
    return int(answer.status_code)


def now(cast: Cast, row: Freezing) -> Freezing:
    with tenant_scope(cast.north):
        found: Freezing = Freezing.objects.select_related("snapshot", "corpus").get(pk=row.pk)
        return found


# ---- several corpora -----------------------------------------------------------------------------


def test_two_corpora_freeze_to_one_snapshot_in_either_order(
    cast: Cast, two: tuple[Corpus, Corpus]
) -> None:
    snapshot = frozen(cast, *two)
    assert snapshot.pk == frozen(cast, *reversed(two)).pk
    assert snapshot.documents == 4
    assert snapshot.closure == sorted(each.pk for each in two)
    with tenant_scope(cast.north):
        assert {entry.corpus for entry in manifests.entries(snapshot)} == {
            str(each.pk) for each in two
        }


def test_what_two_corpora_both_hold_is_taught_once(
    cast: Cast, two: tuple[Corpus, Corpus], tmp_path: Path
) -> None:
    add(cast, two[0], rows(0, 4))
    add(cast, two[1], rows(0, 6))
    snapshot = frozen(cast, *two)
    with tenant_scope(cast.north):
        files = actions.export_snapshot(snapshot, tmp_path)
    assert [row["text"] for row in lines(files.documents)].count("Words in both") == 1
    asked = {row["id"] for row in lines(files.bridge_examples) + lines(files.held_out)}
    assert len(asked) == 12
    named = {row["corpus"] for row in lines(files.held_out)}
    assert named == {str(each) for each in two}
    assert not [row for row in lines(files.bridge_examples) if "corpus" in row]


def test_what_one_corpus_held_out_no_other_teaches(cast: Cast, two: tuple[Corpus, Corpus]) -> None:
    for each in two:
        add(cast, each, [row | {"question": f"{each}: {row['question']}"} for row in rows(0, 60)])
    apart = [dict(frozen(cast, each).manifest["examples"]) for each in two]
    together = dict(frozen(cast, *two).manifest["examples"])
    held = {digest for each in apart for digest, where in each.items() if where != "bridge"}
    assert held
    assert all(together[digest] != "bridge" for digest in held)
    with tenant_scope(cast.north):
        examples = [example for each in two for example in each.examples.all()]
    taught = {e.entity for e in examples if together[e.digest] == "bridge"}
    assert not taught & {e.entity for e in examples if together[e.digest] != "bridge"}


def test_only_whoever_reads_every_corpus_sees_the_snapshot(
    cast: Cast, two: tuple[Corpus, Corpus]
) -> None:
    snapshot = frozen(cast, *two)
    addresses = (snapshot.get_absolute_url(), url("manifest", snapshot))
    for corpus in two:
        for address in addresses:
            assert asked(cast, address) == 404
        with tenant_scope(cast.north):
            actions.grant(corpus, cast.bo, "read", by=cast.ada)
    for address in addresses:
        assert asked(cast, address) == 200
    tab = f"{two[1].get_absolute_url()}?tab=snapshots"
    assert snapshot.short in page(cast, tab, cast.bo)


def test_a_corpus_that_is_gone_shuts_the_snapshot(cast: Cast, two: tuple[Corpus, Corpus]) -> None:
    snapshot = frozen(cast, *two)
    with tenant_scope(cast.north):
        assert Snapshot.objects.visible_to(cast.ada).filter(pk=snapshot.pk).exists()
        assert not Snapshot.objects.within(Corpus.objects.filter(pk=two[0].pk)).exists()
        assert not Snapshot.objects.within(Corpus.objects.none()).exists()


@pytest.mark.parametrize("granted", [(), (0,), (1,), (0, 1)])
def test_a_model_of_two_corpora_is_for_whoever_reads_both(
    cast: Cast, two: tuple[Corpus, Corpus], granted: tuple[int, ...]
) -> None:
    snapshot = frozen(cast, *two)
    with tenant_scope(cast.north):
        assert closure_of([snapshot]) == snapshot.closure
        augmenter = make_augmenter([snapshot], anchor=make_anchor(cast.ada))
        model = make_composition([augmenter], snapshot=snapshot)
        for number in granted:
            actions.grant(two[number], cast.bo, "read", by=cast.ada)
        assert can_use(cast.bo, model) == (len(granted) == 2)
        assert actions.readers(*two) == ([cast.ada, cast.bo] if len(granted) == 2 else [cast.ada])


def test_nobody_freezes_what_they_may_only_read(cast: Cast, two: tuple[Corpus, Corpus]) -> None:
    with tenant_scope(cast.north):
        actions.grant(two[0], cast.bo, "curate", by=cast.ada)
        actions.grant(two[1], cast.bo, "read", by=cast.ada)
        with pytest.raises(PermissionDenied):
            actions.order_freeze(*two, by=cast.bo)


# ---- the order and its job -----------------------------------------------------------------------


def test_an_order_is_one_however_often_it_is_given_and_carried_out(cast: Cast) -> None:
    corpus = one_document(cast)
    first = order(cast, corpus)
    assert order(cast, corpus).pk == first.pk
    for _ in range(2):
        freeze_task(str(cast.north.pk), str(first.pk))
    done = now(cast, first)
    assert (done.state, done.attempts) == ("done", 1)
    again = order(cast, corpus)
    freeze_task(str(cast.north.pk), str(again.pk))
    assert again.pk != first.pk
    assert now(cast, again).snapshot == done.snapshot


def test_an_order_that_cannot_be_carried_out_says_why(cast: Cast) -> None:
    corpus = one_document(cast)
    given_order = order(cast, corpus)
    send(cast, corpus, {"late.txt": b"late words"})
    freeze_task(str(cast.north.pk), str(given_order.pk))
    assert now(cast, given_order).code == "upload.in_progress"
    assert "still being read: 1" in page(cast, given_order.get_absolute_url())


def test_an_order_ends_when_its_giver_may_no_longer_give_it(cast: Cast) -> None:
    corpus = one_document(cast)
    with tenant_scope(cast.north):
        right = actions.grant(corpus, cast.bo, "curate", by=cast.ada)
        given_order = actions.order_freeze(corpus, by=cast.bo)
        actions.revoke(right, by=cast.ada)
    freeze_task(str(cast.north.pk), str(given_order.pk))
    assert now(cast, given_order).code == "freezing.right"


def test_an_order_whose_worker_died_is_taken_up_and_at_last_given_up(cast: Cast) -> None:
    given_order = order(cast, one_document(cast))
    with tenant_scope(cast.north):
        assert actions.claim_freezing(given_order.pk)
        assert actions.claim_freezing(given_order.pk) is None
        Freezing.objects.update(claimed_at="2026-01-01T00:00Z")
        assert actions.claim_freezing(given_order.pk)
        Freezing.objects.update(claimed_at="2026-01-01T00:00Z", attempts=3)
        actions.reconcile_freezings()
    assert now(cast, given_order).code == "freezing.lost"


def test_the_page_orders_waits_and_leads_to_the_snapshot(
    cast: Cast, two: tuple[Corpus, Corpus]
) -> None:
    asked = f"{url('freeze', two[0])}?with={two[1].pk}&with=nonsense"
    shown = page(cast, asked)
    assert "1 person who may read every one of these corpora today" in shown
    sent = post(cast, url("freeze", two[0]), {"with": [str(two[1].pk)], "note": "both"})
    assert "A worker freezes it" in page(cast, sent["Location"])
    with tenant_scope(cast.north):
        row = Freezing.objects.get()
    freeze_task(str(cast.north.pk), str(row.pk))
    led = cast.client(cast.ada).get(sent["Location"])
    shown = page(cast, led["Location"])
    assert "Catalogue" in shown
    assert "Handbook" in shown


# ---- the list ------------------------------------------------------------------------------------


def entry(name: str, original: str = "", training: str = "t", corpus: str = "c") -> Entry:
    return Entry(corpus, original or name, "t", training, name, name, "text/plain", "en", 1, 1)


def test_the_list_is_parquet_with_digests_and_no_text(cast: Cast) -> None:
    snapshot = frozen(cast, one_document(cast, "A planted sentence"))
    answer: Any = cast.client(cast.ada).get(url("manifest", snapshot))
    whole = b"".join(answer.streaming_content)
    [row] = pq.read_table(io.BytesIO(whole)).to_pylist()
    assert (row["path"], row["tokens"], len(row["training"])) == ("note.txt", 5, 64)
    assert b"planted" not in whole


def test_a_list_of_an_older_release_is_read_and_compared(cast: Cast) -> None:
    corpus = one_document(cast)
    with tenant_scope(cast.north):
        [known] = corpus.documents.all()
        documents = [[known.original_digest, known.training_digest, known.title]]
        old = Snapshot.objects.create(
            corpus=corpus,
            digest="0" * 64,
            manifest={"documents": documents, "examples": [], "split": {}},
            documents=1,
            tokens=1,
            frozen_by=cast.ada,
        )
        found = actions.changes(corpus).documents
        assert found is not None
        assert (found.kept, found.any) == (1, False)
    answer: Any = cast.client(cast.ada).get(url("manifest", old))
    assert pq.read_table(io.BytesIO(b"".join(answer.streaming_content))).num_rows == 1


def test_a_snapshot_tells_what_came_went_and_changed(cast: Cast) -> None:
    corpus = make_corpus(cast)
    file_texts(cast, corpus, {"a.txt": "one", "b.txt": "two", "c.txt": "three"})
    frozen(cast, corpus)
    with tenant_scope(cast.north):
        for name in ("a.txt", "b.txt"):
            actions.exclude(corpus.documents.get(path=name), by=cast.ada)
    file_texts(cast, corpus, {"a.txt": "one, but other words", "d.txt": "four"})
    told = frozen(cast, corpus).changes
    assert [told[name] for name in ("added", "removed", "changed", "kept")] == [1, 1, 1, 1]
    assert (told["added_titles"], told["changed_titles"]) == (["d"], ["a"])


def test_a_difference_is_what_sets_say() -> None:
    subsets = [set(some) for size in range(4) for some in combinations("abc", size)]
    for before, after in product(subsets, repeat=2):
        found = difference(*([entry(name) for name in sorted(some)] for some in (before, after)))
        counts = (found.added, found.removed, found.changed, found.kept)
        assert counts == (len(after - before), len(before - after), 0, len(after & before))


def test_a_text_with_other_words_taken_out_is_changed() -> None:
    found = difference([entry("a")], [entry("a", training="u")])
    assert found == Difference(changed=1, changed_titles=["a"])


# ---- tokens --------------------------------------------------------------------------------------


def test_tokens_are_counted_as_the_anchor_counts_them(cast: Cast, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415  for this test alone

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    count = token_counter(tmp_path)
    assert count is not None
    snapshot = frozen(cast, one_document(cast, "four words of text"))
    with tenant_scope(cast.north):
        for _ in range(2):
            actions.begin_counts(snapshot, [("0" * 64, "Some anchor")])
        assert actions.count_some(snapshot.pk, "0" * 64, count)
        assert not actions.count_some(snapshot.pk, "0" * 64, count)
    assert "Tokens as Some anchor counts them" in page(cast, snapshot.get_absolute_url())
    with tenant_scope(cast.north):
        assert snapshot.token_counts.get().tokens == 4


def test_an_anchor_without_files_here_costs_no_count(cast: Cast) -> None:
    snapshot = frozen(cast, one_document(cast))
    count_tokens(str(cast.north.pk), str(snapshot.pk))
    with tenant_scope(cast.north), pytest.raises(InputError):
        actions.freeze(make_corpus(cast, "Empty"), by=cast.ada)
