"""What looks like personal data or a secret waits for a person; near copies are set aside."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.models import AuditEvent
from apps.corpora import actions, manifests, near
from apps.corpora.actions import review
from apps.corpora.models import Corpus, Document, Flag, Policy
from apps.corpora.screening import Finding, Kind, found, personal, redacted, secrets
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.storage import blobs
from tests.apps.corpora.making import make_corpus, make_document, outcomes, take_in
from tests.cast import Cast

CARD = "Pay with 4111 1111 1111 1111 today."


def kinds(text: str) -> list[str]:
    return [one.kind.value for one in found(text)]


# ---- detectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to anna.berg@firm.example now", "email"),
        ("call +49 30 901820 or come", "phone"),
        ("IBAN DE89 3704 0044 0532 0130 00 PLEASE", "iban"),
        ("IBAN: GB29NWBK60161331926819.", "iban"),
        (CARD, "card"),
        ("codice RSSMRA85T10A562S", "national_id"),
        ("DNI 12345678Z", "national_id"),
        ("social security 536-90-4399", "national_id"),
        ("key AKIAIOSFODNN7EXAMPLE here", "access_key"),
        ("token ghp_" + "a1B2" * 9, "access_key"),
        ("password: Sommer2026!", "password"),
        ("postgres://user:geheim1@db/x", "password"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", "private_key"),
    ],
)
def test_what_opens_a_door_or_names_a_person_is_found(text: str, kind: str) -> None:
    assert kinds(f"Words before. {text} Words behind.") == [kind]


NUMBERED = ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "4111 1111 1111 1111", "12 3"]
NUMBERED += [
    "RSSMRA85T10A562S",
    "12345678Z",
    "X1234567L",
    "131052-308T",
    "756.9217.0769.85",
    "7",
    "42",
]
NUMBERED += [
    "2 55 08 14 168 025 38",
    "social 536-90-4399",
    "Steuer 36 574 261 809",
    "1234567890123456",
]


@given(st.lists(st.tuples(st.sampled_from(NUMBERED), st.text("aZ. \n", max_size=120)), max_size=6))
def test_looking_around_numbers_alone_misses_nothing(parts: list[tuple[str, str]]) -> None:
    text = "".join(f"{filler}{number}" for number, filler in parts)
    with pytest.MonkeyPatch.context() as patch:
        near = found(text)
        patch.setattr(personal, "WIDE", len(text) + 1)
        assert near == found(text)


def test_each_example_of_a_number_is_found_in_a_long_text() -> None:
    text = "".join(f"{'Words. ' * 40}{number} " for number in NUMBERED)
    assert Counter(kinds(text)) == {"iban": 2, "card": 1, "national_id": 8}


MARKED = [secrets.PRIVATE, secrets.NAMED, secrets.IN_ADDRESS, *secrets.ACCESS]


@pytest.mark.parametrize(("marks", "pattern"), MARKED, ids=lambda part: str(part)[:24])
@given(data=st.data())
def test_a_secret_holds_one_of_the_words_that_are_looked_for_first(
    marks: secrets.Marks, pattern: re.Pattern[str], data: st.DataObject
) -> None:
    said = data.draw(st.from_regex(pattern))
    where = said.casefold() if pattern.flags & re.IGNORECASE else said
    assert any(mark in where for mark in marks)


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",  # a wrong check digit
        "IBAN DE88 3704 0044 0532 0130 00",
        "order 536-90-4399",  # no word of social security near
        "The password: required for entry",
        "password: <your password>",
        "version 1.2.3.4, part 756-1234, +1 mm",
        "0000 0000 0000 0000",
    ],
)
def test_ordinary_numbers_are_left_in_peace(text: str) -> None:
    assert kinds(text) == []


def test_where_two_overlap_the_secret_stays() -> None:
    text = "ftp://root:mail@host.example@server/x"
    spans = found(text)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    assert spans[0].kind == Kind.PASSWORD


def test_blacking_out_leaves_the_rest_alone() -> None:
    text = f"{CARD} {CARD}"
    clean = redacted(text, found(text))
    assert clean == "Pay with [card redacted] today. Pay with [card redacted] today."
    assert redacted(text, [Finding(0, 3, Kind.EMAIL), Finding(1, 2, Kind.EMAIL)]).endswith(text[3:])


# ---- the queue -----------------------------------------------------------------------------------


@pytest.fixture
def held(cast: Cast) -> Document:
    return make_document(cast, text=CARD)


def now(cast: Cast, document: Document) -> Document:
    with tenant_scope(cast.north):
        return Document.objects.select_related("corpus").get(pk=document.pk)


def frozen_text(cast: Cast, corpus: Corpus) -> str:
    with tenant_scope(cast.north):
        [entry] = manifests.entries(actions.freeze(corpus, by=cast.ada))
        with blobs().open("text", entry.training) as file:
            return file.read().decode()


def test_nothing_flagged_enters_a_snapshot_undecided(cast: Cast, held: Document) -> None:
    assert held.state == "held"
    with tenant_scope(cast.north), pytest.raises(InputError) as refused:
        actions.freeze(held.corpus, by=cast.ada)
    assert refused.value.code == "corpus.empty"


def test_let_in_a_passage_stays_as_it_is(cast: Cast, held: Document) -> None:
    with tenant_scope(cast.north):
        assert actions.approve(Flag.objects.get(), by=cast.ada) == 1
    assert now(cast, held).state == "ready"
    assert frozen_text(cast, held.corpus).strip() == CARD


def test_blacked_out_it_is_gone_from_what_is_learned_and_the_original_stays(
    cast: Cast, held: Document
) -> None:
    with tenant_scope(cast.north):
        actions.redact(Flag.objects.get(), by=cast.ada)
    assert "4111" not in frozen_text(cast, held.corpus)
    row = now(cast, held)
    with tenant_scope(cast.north):
        assert actions.text_of(row).strip() == CARD
        with blobs().open("original", row.original_digest) as file:
            assert file.read().decode() == CARD


def test_left_out_and_taken_back(cast: Cast, held: Document) -> None:
    with tenant_scope(cast.north):
        flag = Flag.objects.get()
        actions.leave_out(flag, by=cast.ada)
    assert now(cast, held).state == "excluded"
    with tenant_scope(cast.north):
        assert actions.reopen(flag, by=cast.ada)
        assert not actions.reopen(flag, by=cast.ada)
    assert now(cast, held).state == "held"


def test_passages_that_are_alike_are_decided_together(cast: Cast) -> None:
    corpus = make_corpus(cast)
    files = {f"{n}.txt": f"Letter {n}: {CARD} Word{n} and word{n}.".encode() for n in range(3)}
    take_in(cast, corpus, files | {"other.txt": b"Other 5500 0000 0000 0004 card"})
    with tenant_scope(cast.north):
        flag = Flag.objects.filter(document__path="0.txt").get()
        assert len(actions.alike(flag)) == 3
        assert actions.redact(flag, by=cast.ada, alike=True) == 3
        assert Flag.objects.filter(state="open").count() == 1
        assert actions.redact(flag, by=cast.ada) == 0  # decided already: nothing is overwritten


def test_no_word_of_a_passage_stands_in_the_database_or_the_log(cast: Cast, held: Document) -> None:
    with tenant_scope(cast.north):
        flag = Flag.objects.get()
        actions.approve(flag, by=cast.ada)
        line = AuditEvent.objects.get(action="flag.decide")
        assert line.facts == {"decision": "approved", "kind": "card", "n": 1}
        assert "4111" not in str(vars(flag))
    assert review.mark_of(cast.north.pk, "a") != review.mark_of(cast.south.pk, "a")


def test_only_a_curator_decides(cast: Cast, held: Document) -> None:
    with tenant_scope(cast.north):
        actions.grant(held.corpus, cast.bo, "read", by=cast.ada)
        with pytest.raises(PermissionDenied):
            actions.approve(Flag.objects.get(), by=cast.bo)


def test_more_than_the_queue_holds_at_once_comes_later(cast: Cast, monkeypatch: Any) -> None:
    monkeypatch.setattr(review, "MOST", 1)
    document = make_document(cast, text=f"{CARD} and also 5500 0000 0000 0004.")
    for count in (1, 2):
        with tenant_scope(cast.north):
            flag = Flag.objects.get(state="open")
            actions.approve(flag, by=cast.ada)
            assert Flag.objects.count() == 2
        assert now(cast, document).state == ("held" if count == 1 else "ready")


# ---- policies ------------------------------------------------------------------------------------


def set_identity(cast: Cast, corpus: Corpus, policy: str) -> None:
    with tenant_scope(cast.north):
        every = {"contact": "allow", "identity": policy, "secret": "flag"}
        actions.set_policies(corpus, every, by=cast.ada)


def test_a_policy_holds_for_what_is_there_and_what_comes(cast: Cast, held: Document) -> None:
    set_identity(cast, held.corpus, Policy.REDACT)
    with tenant_scope(cast.north):
        with pytest.raises(InputError) as refused:
            actions.freeze(held.corpus, by=cast.ada)
        assert refused.value.code == "corpus.screening"
        assert actions.screen_again(held.corpus_id) == 1
        assert actions.screen_again(held.corpus_id) == 0
    assert now(cast, held).state == "ready"
    assert "[card redacted]" in frozen_text(cast, held.corpus)
    set_identity(cast, held.corpus, Policy.ALLOW)
    with tenant_scope(cast.north):
        actions.screen_again(held.corpus_id)
    assert "4111" in frozen_text(cast, held.corpus)


def test_what_is_blocked_can_only_be_blacked_out_or_left_out(cast: Cast, held: Document) -> None:
    set_identity(cast, held.corpus, Policy.BLOCK)
    with tenant_scope(cast.north):
        actions.screen_again(held.corpus_id)
        flag = Flag.objects.select_related("corpus").get()
        with pytest.raises(InputError) as refused:
            actions.approve(flag, by=cast.ada)
        assert refused.value.code == "flag.blocked"
        actions.redact(flag, by=cast.ada)
    assert now(cast, held).state == "ready"


def test_people_s_decisions_outlive_a_new_policy(cast: Cast, held: Document) -> None:
    with tenant_scope(cast.north):
        actions.approve(Flag.objects.get(), by=cast.ada)
    set_identity(cast, held.corpus, Policy.FLAG)
    with tenant_scope(cast.north):
        actions.screen_again(held.corpus_id)
    assert now(cast, held).state == "ready"


# ---- pages ---------------------------------------------------------------------------------------


def test_the_queue_is_worked_by_forms_alone(cast: Cast, held: Document) -> None:
    client = cast.client(cast.ada)
    address = reverse("corpora:review", kwargs={"code": held.corpus_id})
    shown = client.get(address).content.decode()
    assert "<mark>4111 1111 1111 1111</mark>" in shown
    assert "1 of 1" in shown
    with tenant_scope(cast.north):
        flag = Flag.objects.get()
    decide = reverse("corpora:decide", kwargs={"code": flag.pk})
    after = client.post(decide, {"decision": "redact"}, follow=True).content.decode()
    assert "1 passage decided." in after
    assert "Nothing to review in 1 document." in after
    again = client.post(decide, {"decision": "approve"}, follow=True).content.decode()
    assert "Ada Lind was first: blacked out." in again
    client.post(decide, {"decision": "undo"})
    assert now(cast, held).state == "held"
    page = client.get(held.get_absolute_url()).content.decode()
    assert "looks like personal data" in page


def test_policies_are_set_on_their_page(cast: Cast, held: Document) -> None:
    address = reverse("corpora:policies", kwargs={"code": held.corpus_id})
    client = cast.client(cast.ada)
    assert "payment cards" in client.get(address).content.decode()
    client.post(address, {"contact": "redact", "identity": "block", "secret": "flag"})
    with tenant_scope(cast.north):
        corpus = Corpus.objects.get()
        assert (corpus.contact_policy, corpus.policy_version) == ("redact", 2)


# ---- near copies ---------------------------------------------------------------------------------

PAGE = " ".join(
    f"The gauge number {n} is checked in spring and after each repair." for n in range(20)
)


def test_a_near_copy_is_set_aside_shown_and_brought_back(cast: Cast) -> None:
    corpus = make_corpus(cast)
    upload = take_in(cast, corpus, {"a.txt": PAGE.encode(), "b.txt": f"{PAGE} Indeed.".encode()})
    assert set(outcomes(cast, upload).values()) == {"stored"}
    with tenant_scope(cast.north):
        first, second = corpus.documents.order_by("path")
        assert (first.state, second.state, second.duplicate_of_id) == (
            "ready",
            "duplicate",
            first.pk,
        )
        assert second.similarity > 0.9
    client = cast.client(cast.ada)
    assert "which is taken instead" in client.get(second.get_absolute_url()).content.decode()
    client.post(reverse("corpora:keep_apart", kwargs={"code": second.pk}))
    assert now(cast, second).state == "ready"
    client.post(reverse("corpora:fold_in", kwargs={"code": second.pk}))
    assert now(cast, second).state == "duplicate"


def test_the_same_words_in_another_corpus_are_no_copy(cast: Cast) -> None:
    take_in(cast, make_corpus(cast), {"a.txt": PAGE.encode()})
    other = make_corpus(cast, "Other")
    take_in(cast, other, {"b.txt": f"{PAGE} Indeed.".encode()})
    with tenant_scope(cast.north):
        assert other.documents.get().state == "ready"


def test_pairs_of_the_bar_meet_and_others_do_not() -> None:
    chance = random.Random(5)  # noqa: S311  no secret
    words = [f"w{n}" for n in range(3000)]
    met = missed = wrong = 0
    for _ in range(60):
        base = chance.sample(words, 200)
        for changed in (4, 60):
            other = list(base)
            for at in chance.sample(range(200), changed):
                other[at] = chance.choice(words)
            one, two = near.shingles(" ".join(base)), near.shingles(" ".join(other))
            meet = bool(set(near.bands(one)) & set(near.bands(two)))
            is_copy = near.jaccard(one, two) >= near.ALIKE
            met += meet and is_copy
            missed += is_copy and not meet
            wrong += meet and not is_copy
    assert met >= 55
    assert missed <= 1
    assert wrong <= 10  # they are counted out before anybody calls them copies
