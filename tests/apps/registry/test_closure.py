"""Who may use a model: whoever may read every corpus that it learned from, and nobody else."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest
from django.db import IntegrityError, models, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.accounts.models import User
from apps.corpora import actions as corpora
from apps.corpora.models import Corpus, Right, Snapshot
from apps.registry.actions import lift_quarantine, quarantine
from apps.registry.closure import audience, can_use, closure, why_not
from apps.registry.models import Composition
from apps.tenants.models import Group, GroupMember
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError, InternalError
from tests.apps.registry.making import make_augmenter, make_composition
from tests.apps.runs.making import make_anchor, make_snapshot
from tests.cast import Cast

CORPORA = 3


@dataclass(frozen=True)
class World:
    """Who may read which corpus, by which road; and what a model learned from."""

    grants: tuple[tuple[int, str, str], ...]  # (corpus, "bo" or "group", right)
    is_member: bool
    augmenters: tuple[tuple[int, ...], ...]
    composed_on: int


worlds = st.builds(
    World,
    grants=st.lists(
        st.tuples(
            st.integers(0, CORPORA - 1),
            st.sampled_from(["bo", "group"]),
            st.sampled_from([Right.READ, Right.CURATE, Right.EXPORT]),
        ),
        max_size=5,
        unique=True,
    ).map(tuple),
    is_member=st.booleans(),
    augmenters=st.lists(
        st.lists(st.integers(0, CORPORA - 1), min_size=1, max_size=2, unique=True).map(tuple),
        min_size=1,
        max_size=2,
    ).map(tuple),
    composed_on=st.integers(0, CORPORA - 1),
)


def naive(world: World) -> bool:
    """Bo may use it: written as one would say it, with none of the product's code."""
    learned = {world.composed_on} | {corpus for each in world.augmenters for corpus in each}
    readable = {
        corpus
        for corpus, to, right in world.grants
        if right in (Right.READ, Right.CURATE) and (to == "bo" or world.is_member)
    }
    return learned <= readable


def build(cast: Cast, world: World) -> Composition:
    snapshots = [make_snapshot(cast.ada, f"Corpus {number}") for number in range(CORPORA)]
    group = Group.objects.create(name="Workshop")
    if world.is_member:
        GroupMember.objects.create(group=group, user=cast.bo)
    for number, to, right in world.grants:
        who: User | Group = cast.bo if to == "bo" else group
        corpora.grant(snapshots[number].corpus, who, right, by=cast.ada)
    anchor = make_anchor(cast.ada)
    parts = [
        make_augmenter([snapshots[corpus] for corpus in each], anchor=anchor, name=f"Part {number}")
        for number, each in enumerate(world.augmenters)
    ]
    return make_composition(parts, snapshot=snapshots[world.composed_on])


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(world=worlds)
def test_the_closure_is_an_intersection(cast: Cast, world: World) -> None:
    with tenant_scope(cast.north):
        model = build(cast, world)
        assert can_use(cast.bo, model) is naive(world)
        assert can_use(cast.ada, model)  # she owns every corpus
        assert not can_use(cast.otto, model)  # a role grants nothing
        assert bool(why_not(cast.bo, model)) is not naive(world)
        grid = {row.user: row.may for row in audience(model, []).named}
        assert grid[cast.bo] is naive(world)
        transaction.set_rollback(True)  # each world is gone after its look


@pytest.fixture
def model(cast: Cast) -> Composition:
    """Learned two corpora of Ada's; Bo may read both."""
    with tenant_scope(cast.north):
        one, two = make_snapshot(cast.ada, "One"), make_snapshot(cast.ada, "Two")
        for snapshot in (one, two):
            corpora.grant(snapshot.corpus, cast.bo, Right.READ, by=cast.ada)
        augmenter = make_augmenter([one], anchor=make_anchor(cast.ada))
        return make_composition([augmenter], snapshot=two)


def test_a_right_that_is_taken_acts_at_once(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        assert can_use(cast.bo, model)
        corpora.revoke(Corpus.objects.get(name="Two").grants.get(), by=cast.ada)
        assert not can_use(cast.bo, model)
        assert [corpus.name for corpus in why_not(cast.bo, model)] == ["Two"]


def test_a_deleted_corpus_denies_for_ever(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        Composition.objects.filter(pk=model.pk).update(closure=[*model.closure, UUID(int=7)])
        assert not can_use(cast.ada, model)
        assert not can_use(cast.bo, model)
        assert not audience(Composition.objects.get(pk=model.pk), []).count


def test_a_corpus_that_a_model_learned_cannot_be_deleted(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north), pytest.raises(models.ProtectedError):
        Corpus.objects.get(name="One").delete()


def test_a_model_without_lineage_can_not_be_written(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        with pytest.raises(IntegrityError, match="composition_has_a_closure"), transaction.atomic():
            Composition.objects.filter(pk=model.pk).update(closure=[])
        with pytest.raises(InternalError, match=r"closure\.empty"):
            make_augmenter([], anchor=model.anchor)


def test_a_barred_model_is_used_by_nobody_and_seen_by_its_readers(
    cast: Cast, model: Composition
) -> None:
    with tenant_scope(cast.north):
        with pytest.raises(InputError, match=r"reason\.missing"):
            quarantine(model, by=cast.ada, reason=" ")
        quarantine(model, by=cast.ada, reason="It leaks.")
        assert not can_use(cast.ada, model)
        assert Composition.objects.visible_to(cast.ada).filter(pk=model.pk).exists()
        lift_quarantine(model, by=cast.ada, reason="It does not.")
        assert can_use(cast.ada, model)


def test_another_tenants_person_uses_nothing(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        assert not can_use(cast.cy, model)
    with tenant_scope(cast.south):
        assert not can_use(cast.cy, model)
        assert not Composition.objects.exists()


def test_use_is_asked_in_one_query(
    cast: Cast, model: Composition, django_assert_num_queries: object
) -> None:
    with tenant_scope(cast.north), django_assert_num_queries(1):  # type: ignore[operator]  # a fixture
        assert Composition.objects.usable_by(cast.bo).count() == 1


def test_the_closure_reaches_through_the_augmenter(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        assert closure(model) == set(Snapshot.objects.values_list("corpus_id", flat=True))
