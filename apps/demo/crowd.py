"""A made-up company of some size, as rows alone: people, groups, grants, corpora and models."""

from __future__ import annotations

import random
from dataclasses import dataclass
from hashlib import sha256
from uuid import uuid4

from apps.accounts.actions import open_tenant
from apps.accounts.models import User
from apps.corpora.models import Corpus, CorpusGrant, Right, Snapshot
from apps.registry.models import Anchor, Composition
from apps.tenants.models import Group, GroupMember, Membership, Role, Tenant
from apps.tenants.scope import tenant_scope

PEOPLE, GROUPS, CORPORA, MODELS = 10_000, 200, 1_000, 500
GRANTS_EACH, GROUPS_EACH, CORPORA_OF_GROUP = 3, 2, 20
NEIGHBOURS = 4  # tenants of the same size beside it, so that row security has rows to hide


@dataclass(frozen=True)
class Crowd:
    """The tenant that is measured, with its people and models."""

    tenant: Tenant
    people: list[User]
    models: list[Composition]
    chance: random.Random

    @classmethod
    def gathered(cls) -> Crowd:
        """Write all rows, in tenants of one shape; the first is the one that is measured."""
        chance = random.Random(10)  # noqa: S311  the same company each time, no secret
        for number in range(NEIGHBOURS):
            fill(open_tenant(f"Neighbour {number}", f"neighbour-{number}"), chance, PEOPLE // 10)
        tenant = open_tenant("Company", "company")
        people, models = fill(tenant, chance, PEOPLE)
        return cls(tenant, people, models, chance)


def fill(tenant: Tenant, chance: random.Random, count: int) -> tuple[list[User], list[Composition]]:
    """So many people, and as many corpora and models as that asks for."""
    share = count / PEOPLE
    with tenant_scope(tenant):
        people = User.objects.bulk_create(
            User(email=f"p{number}@{tenant.slug}.example", name=f"Person {number}")
            for number in range(count)
        )
        Membership.objects.bulk_create(
            Membership(tenant=tenant, user=user, role=Role.EMPLOYEE) for user in people
        )
        groups = Group.objects.bulk_create(
            Group(name=f"Group {number}") for number in range(max(2, int(GROUPS * share)))
        )
        GroupMember.objects.bulk_create(
            GroupMember(group=group, user=user)
            for user in people
            for group in chance.sample(groups, min(GROUPS_EACH, len(groups)))
        )
        corpora = Corpus.objects.bulk_create(
            Corpus(name=f"Corpus {number}", owner=chance.choice(people))
            for number in range(max(CORPORA_OF_GROUP, int(CORPORA * share)))
        )
        grant(chance, people, groups, corpora)
        return people, learned(chance, people[0], corpora, max(5, int(MODELS * share)))


def grant(
    chance: random.Random, people: list[User], groups: list[Group], corpora: list[Corpus]
) -> None:
    """A few corpora to each person, more to each group."""
    rows = [
        CorpusGrant(corpus=corpus, user=user, right=Right.READ)
        for user in people
        for corpus in chance.sample(corpora, GRANTS_EACH)
    ]
    rows += [
        CorpusGrant(corpus=corpus, group=group, right=Right.READ)
        for group in groups
        for corpus in chance.sample(corpora, CORPORA_OF_GROUP)
    ]
    CorpusGrant.objects.bulk_create(rows, batch_size=5000)


def learned(
    chance: random.Random, by: User, corpora: list[Corpus], count: int
) -> list[Composition]:
    """Models that each learned one to three corpora."""
    anchor = Anchor.objects.create(name="Anchor", digest=digest(), imported_by=by)
    snapshots = Snapshot.objects.bulk_create(
        Snapshot(corpus=corpus, digest=digest(), manifest={}, documents=1, tokens=1, frozen_by=by)
        for corpus in corpora
    )
    return Composition.objects.bulk_create(
        Composition(
            name=f"Model {number}",
            version=1,
            digest=digest(),
            anchor=anchor,
            snapshot=snapshots[number % len(snapshots)],
            run_id=uuid4(),
            closure=[corpus.pk for corpus in chance.sample(corpora, chance.randint(1, 3))],
        )
        for number in range(count)
    )


def digest() -> str:
    return sha256(uuid4().bytes).hexdigest()
