"""Reading is granted corpus by corpus, and by nothing else."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction

from apps.accounts.actions import invite
from apps.corpora import actions
from apps.corpora.models import Corpus, CorpusGrant, Right
from apps.tenants.models import Group, GroupMember, Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.corpora.making import make_corpus, make_document
from tests.cast import Cast


def rights(corpus: Corpus, user: object) -> set[str]:
    return {right.value for right in Right if corpus.may(user, right)}  # type: ignore[arg-type]


def test_the_owner_has_every_right_and_no_role_has_any(cast: Cast) -> None:
    corpus = make_corpus(cast)
    eve = invite(cast.north, "eve@north.example", "Eve", Role.CURATOR, "eight green larks sing")
    with tenant_scope(cast.north):
        assert rights(corpus, cast.ada) == {"read", "curate", "export"}
        for other in (cast.bo, cast.otto, eve):
            assert rights(corpus, other) == set()


@pytest.mark.parametrize(
    ("right", "follows"),
    [("read", {"read"}), ("curate", {"read", "curate"}), ("export", {"export"})],
)
def test_a_right_gives_what_it_says(cast: Cast, right: str, follows: set[str]) -> None:
    corpus = make_corpus(cast)
    with tenant_scope(cast.north):
        given = actions.grant(corpus, cast.bo, right, by=cast.ada)
        assert rights(corpus, cast.bo) == follows
        actions.revoke(given, by=cast.ada)
        assert rights(corpus, cast.bo) == set()


def test_a_group_s_right_ends_with_membership(cast: Cast) -> None:
    corpus = make_corpus(cast)
    with tenant_scope(cast.north):
        legal = Group.objects.create(name="Legal")
        actions.grant(corpus, legal, "read", by=cast.ada)
        assert not corpus.may(cast.bo, Right.READ)
        member = GroupMember.objects.create(group=legal, user=cast.bo)
        assert corpus.may(cast.bo, Right.READ)
        assert list(Corpus.objects.visible_to(cast.bo)) == [corpus]
        member.delete()
        assert not corpus.may(cast.bo, Right.READ)


def test_only_the_owner_sets_access(cast: Cast) -> None:
    corpus = make_corpus(cast)
    with tenant_scope(cast.north):
        actions.grant(corpus, cast.bo, "curate", by=cast.ada)
        with pytest.raises(PermissionDenied, match="Ada Lind, who owns"):
            actions.grant(corpus, cast.otto, "read", by=cast.bo)


def test_a_right_given_twice_is_one(cast: Cast) -> None:
    corpus = make_corpus(cast)
    with tenant_scope(cast.north):
        actions.grant(corpus, cast.bo, "read", by=cast.ada)
        actions.grant(corpus, cast.bo, "read", by=cast.ada)
        assert corpus.grants.count() == 1
        with pytest.raises(IntegrityError), transaction.atomic():
            CorpusGrant.objects.create(corpus=corpus, user=cast.bo, right="read")
        with pytest.raises(IntegrityError), transaction.atomic():
            CorpusGrant.objects.create(corpus=corpus, right="read")


def test_two_corpora_of_one_name_are_refused(cast: Cast) -> None:
    make_corpus(cast)
    with pytest.raises(InputError) as refused:
        make_corpus(cast)
    assert refused.value.code == "corpus.name"
    with tenant_scope(cast.south):
        assert actions.create_corpus("Handbook", by=cast.cy).tenant_id == cast.south.pk


def test_a_grant_to_another_tenant_s_group_is_refused_by_the_database(cast: Cast) -> None:
    with tenant_scope(cast.south):
        theirs = Group.objects.create(name="Theirs")
    corpus = make_corpus(cast)
    with tenant_scope(cast.north), transaction.get_connection().cursor() as cursor:
        # The check waits for the commit unless it is told not to.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError), transaction.atomic():
            actions.grant(corpus, theirs, "read", by=cast.ada)


def test_whoever_may_read_is_named_before_freezing(cast: Cast) -> None:
    found = make_document(cast)
    with tenant_scope(cast.north):
        assert actions.readers(found.corpus) == [cast.ada]
        actions.grant(found.corpus, cast.bo, "read", by=cast.ada)
        named = actions.readers(found.corpus)
        assert named == [cast.ada, cast.bo]
        assert all(found.corpus.may(person, Right.READ) for person in named)
    page = cast.client(cast.ada).get(f"{found.corpus.get_absolute_url()}freeze/").content.decode()
    assert "2 people who may read this corpus today" in page
    assert "<summary>Added</summary>" in page
