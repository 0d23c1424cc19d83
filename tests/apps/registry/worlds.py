"""Random tenants in one go: people, grants, corpora, lineages, and a naive judge of them.

The judge is written as one would say it, with none of the product's code.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid4

from hypothesis import strategies as st

from apps.accounts.models import User
from apps.corpora.models import Corpus, CorpusGrant, Right, Snapshot
from apps.registry.models import Anchor, Augmenter, Composition
from apps.tenants.models import Group, GroupMember, Membership, Role
from apps.tenants.scope import current_tenant

PEOPLE, GROUPS, CORPORA, AUGMENTERS, MODELS = 5, 3, 5, 4, 8
READING = (Right.READ, Right.CURATE)


@dataclass(frozen=True)
class World:
    """Numbers stand for people, groups, corpora and augmenters.

    grants      (corpus, to a group?, number of person or group, right)
    joined      (group, person)
    left        people who are no members any more, whatever grants still name them
    parts       each augmenter's corpora; `bases`: the earlier augmenter that it continues, or None
    models      (augmenters, corpus of the composition's own snapshot)
    deleted     corpora that are gone from the database, though models learned them
    """

    owners: tuple[int, ...]
    grants: frozenset[tuple[int, bool, int, Right]]
    joined: frozenset[tuple[int, int]]
    left: frozenset[int]
    parts: tuple[frozenset[int], ...]
    bases: tuple[int | None, ...]
    models: tuple[tuple[frozenset[int], int], ...]
    deleted: frozenset[int]


def numbers(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, count - 1)


worlds = st.builds(
    World,
    owners=st.lists(numbers(PEOPLE), min_size=CORPORA, max_size=CORPORA).map(tuple),
    grants=st.frozensets(
        st.tuples(numbers(CORPORA), st.booleans(), numbers(GROUPS), st.sampled_from(Right)),
        max_size=14,
    ),
    joined=st.frozensets(st.tuples(numbers(GROUPS), numbers(PEOPLE)), max_size=8),
    left=st.frozensets(numbers(PEOPLE), max_size=1),
    parts=st.lists(
        st.frozensets(numbers(CORPORA), min_size=1, max_size=2),
        min_size=AUGMENTERS,
        max_size=AUGMENTERS,
    ).map(tuple),
    bases=st.tuples(*(st.none() | numbers(place) if place else st.none() for place in range(4))),
    models=st.lists(
        st.tuples(st.frozensets(numbers(AUGMENTERS), min_size=1, max_size=2), numbers(CORPORA)),
        min_size=MODELS,
        max_size=MODELS,
    ).map(tuple),
    deleted=st.frozensets(numbers(CORPORA), max_size=1),
)


# ---- the judge -----------------------------------------------------------------------------------


def learned_by_augmenter(world: World, augmenter: int) -> set[int]:
    base = world.bases[augmenter]
    earlier = learned_by_augmenter(world, base) if base is not None else set()
    return set(world.parts[augmenter]) | earlier


def learned_by_model(world: World, model: int) -> set[int]:
    augmenters, own = world.models[model]
    return {own}.union(*(learned_by_augmenter(world, each) for each in augmenters))


def may_read(world: World, person: int, corpus: int) -> bool:
    if person in world.left or corpus in world.deleted:
        return False
    if world.owners[corpus] == person:
        return True
    for granted, is_group, to, right in world.grants:
        reads = granted == corpus and right in READING
        if reads and ((to, person) in world.joined if is_group else to == person):
            return True
    return False


def may_use(world: World, person: int, model: int) -> bool:
    return all(may_read(world, person, corpus) for corpus in learned_by_model(world, model))


# ---- the rows ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    people: list[User]
    corpora: list[UUID]
    augmenters: list[Augmenter]
    models: list[Composition]


def build(world: World, people: list[User]) -> Built:
    """The world's rows in the tenant in scope; `people` are made once and used for many worlds."""
    tenant = current_tenant()
    Membership.objects.bulk_create(
        Membership(tenant=tenant, user=user, role=Role.CURATOR)
        for number, user in enumerate(people)
        if number not in world.left
    )
    groups = Group.objects.bulk_create(Group(name=f"Group {number}") for number in range(GROUPS))
    GroupMember.objects.bulk_create(
        GroupMember(group=groups[group], user=people[person]) for group, person in world.joined
    )
    corpora = Corpus.objects.bulk_create(
        Corpus(name=f"Corpus {number}", owner=people[owner])
        for number, owner in enumerate(world.owners)
    )
    CorpusGrant.objects.bulk_create(
        CorpusGrant(
            corpus=corpora[corpus],
            group=groups[to] if is_group else None,
            user=None if is_group else people[to],
            right=right,
        )
        for corpus, is_group, to, right in world.grants
    )
    augmenters, models = learn(world, people[0], corpora)
    for number in world.deleted:
        lose(corpora[number])
    return Built(people, [corpus.pk for corpus in corpora], augmenters, models)


def learn(
    world: World, by: User, corpora: list[Corpus]
) -> tuple[list[Augmenter], list[Composition]]:
    """Augmenters and compositions with the closure that the product computes for them."""
    from apps.registry.closure import closure_of  # noqa: PLC0415  what is on trial

    # One snapshot that outlives its corpus's deletion stands in for all: rows alone matter here.
    keeper = Corpus.objects.create(name="Keeper", owner=by)
    snapshots = [snapshot_of(corpus, by) for corpus in corpora]
    anchor = Anchor.objects.create(name="Anchor", digest=digest(), imported_by=by)
    augmenters: list[Augmenter] = []
    for number, part in enumerate(world.parts):
        base = world.bases[number]
        parents = [augmenters[base]] if base is not None else []
        augmenters.append(
            Augmenter.objects.create(
                name=f"Augmenter {number}",
                version=1,
                digest=digest(),
                run_id=uuid4(),
                anchor=anchor,
                closure=closure_of([snapshots[corpus] for corpus in part], parents),
            )
        )
    kept = Snapshot.objects.create(
        corpus=keeper, digest=digest(), manifest={}, documents=0, tokens=0, frozen_by=by
    )
    models = Composition.objects.bulk_create(
        Composition(
            name=f"Model {number}",
            version=1,
            digest=digest(),
            anchor=anchor,
            snapshot=kept,
            run_id=uuid4(),
            closure=closure_of([snapshots[own]], [augmenters[each] for each in parts]),
        )
        for number, (parts, own) in enumerate(world.models)
    )
    return augmenters, models


def snapshot_of(corpus: Corpus, by: User) -> Snapshot:
    """A snapshot that is only named: its row would keep the corpus from being deleted."""
    return Snapshot(corpus=corpus, frozen_by=by)


def lose(corpus: Corpus) -> None:
    """The corpus is gone, with its grants."""
    corpus.delete()


def digest() -> str:
    return sha256(uuid4().bytes).hexdigest()
