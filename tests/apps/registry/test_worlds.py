"""Access by lineage against a naive judge: random people, grants, groups and lineages."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings

from apps.accounts.models import User
from apps.registry.closure import audience, can_use, readers, why_not
from apps.registry.models import Augmenter, Composition
from apps.tenants.scope import tenant_scope
from counterpoint.database.kept import Kept
from tests.apps.registry.worlds import (
    AUGMENTERS,
    MODELS,
    PEOPLE,
    Built,
    World,
    build,
    learned_by_augmenter,
    learned_by_model,
    may_read,
    may_use,
    worlds,
)
from tests.cast import Cast

CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
CASES = PEOPLE * (MODELS + AUGMENTERS)  # questions of access that one world answers

kept_usable = Kept(lambda user: Composition.objects.usable_by(user))


def crowd() -> list[User]:
    mark = uuid4().hex[:8]
    return User.objects.bulk_create(
        User(email=f"{mark}-{number}@north.example", name=f"P{number}") for number in range(PEOPLE)
    )


def judged(cast: Cast, people: list[User], world: World) -> None:
    """Every road to a model says what the naive judge says; then the world goes again."""
    with tenant_scope(cast.north):
        built = build(world, people)
        for number, person in enumerate(people):
            usable = set(Composition.objects.usable_by(person).values_list("pk", flat=True))
            assert usable == {model.pk for model in kept_usable(user=person)}
            seen = set(Augmenter.objects.visible_to(person).values_list("pk", flat=True))
            for place, model in enumerate(built.models):
                assert (model.pk in usable) is may_use(world, number, place)
                assert can_use(person, model) is may_use(world, number, place)
            for place, augmenter in enumerate(built.augmenters):
                learned = learned_by_augmenter(world, place)
                assert (augmenter.pk in seen) is all(may_read(world, number, c) for c in learned)
        told_alike(world, people, built)
        transaction.set_rollback(True)


def told_alike(world: World, people: list[User], built: Built) -> None:
    """The single question, the reasons and the audience of one model agree with the judge too."""
    model, place = built.models[0], 0
    number = {person.pk: number for number, person in enumerate(people)}
    for row in audience(model, []).named:
        if row.user.pk in number:
            assert row.may is may_use(world, number[row.user.pk], place)
    for reader in readers():
        if reader.user.pk in number:
            mine = {c for c, pk in enumerate(built.corpora) if pk in reader.corpora}
            assert mine == {
                c for c in range(len(built.corpora)) if may_read(world, number[reader.user.pk], c)
            }
    person = people[0]
    if 0 not in world.left:
        lacking = {built.corpora.index(corpus.pk) for corpus in why_not(person, model)}
        wanted = learned_by_model(world, place) - world.deleted
        assert lacking == {c for c in wanted if not may_read(world, 0, c)}


@settings(max_examples=12, deadline=None, suppress_health_check=CHECKS)
@given(world=worlds)
def test_access_equals_the_naive_model(cast: Cast, world: World) -> None:
    judged(cast, crowd(), world)


@pytest.mark.slow
@settings(max_examples=-(-10_000 // CASES), deadline=None, suppress_health_check=CHECKS)
@given(world=worlds)
def test_ten_thousand_questions_of_access_equal_the_naive_model(cast: Cast, world: World) -> None:
    judged(cast, crowd(), world)
