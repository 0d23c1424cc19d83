"""Aliases: one target each, moved from where it was seen, with a history that nobody edits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, connection, connections, transaction

from apps.registry.actions import promote, quarantine, roll_back
from apps.registry.models import Alias, AliasChange, Composition
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.registry.making import make_augmenter, make_composition
from tests.apps.runs.making import make_anchor, make_snapshot
from tests.cast import Cast

LIVE = Alias.LIVE


def versions(cast: Cast, count: int = 3) -> list[Composition]:
    """So many versions of one model. In North's scope."""
    snapshot = make_snapshot(cast.ada)
    augmenter = make_augmenter([snapshot], anchor=make_anchor(cast.ada))
    return [make_composition([augmenter], snapshot=snapshot) for _ in range(count)]


def target(name: str = LIVE) -> Composition:
    return Alias.objects.get(name=name).composition


def test_versions_count_up_and_the_newest_is_the_candidate(cast: Cast) -> None:
    with tenant_scope(cast.north):
        rows = versions(cast)
        assert [row.version for row in rows] == [1, 2, 3]
        assert target(Alias.CANDIDATE) == rows[-1]
        assert not Alias.objects.filter(name=LIVE).exists()


def test_each_move_is_written_down(cast: Cast) -> None:
    with tenant_scope(cast.north):
        one, two, _ = versions(cast)
        promote(one, LIVE, by=cast.ada, reason="First")
        promote(two, LIVE, by=cast.ada, reason="Better")
        assert promote(two, LIVE, by=cast.ada) is None  # it stands there already
        moves = AliasChange.objects.filter(name=LIVE).order_by("at")
        assert [(move.before, move.after, move.reason) for move in moves] == [
            (None, one, "First"),
            (one, two, "Better"),
        ]


def test_a_move_from_another_place_than_was_seen_is_refused(cast: Cast) -> None:
    with tenant_scope(cast.north):
        one, two, three = versions(cast)
        promote(one, LIVE, by=cast.ada, seen="")
        with pytest.raises(InputError, match=r"alias\.moved"):
            promote(three, LIVE, by=cast.ada, seen="")
        promote(two, LIVE, by=cast.ada, seen=str(one.pk))
        assert target() == two


@pytest.mark.django_db(transaction=True)
def test_of_two_who_saw_the_same_one_moves_it(cast: Cast) -> None:
    with tenant_scope(cast.north):
        one, two, three = versions(cast)
        promote(one, LIVE, by=cast.ada)
    start = threading.Barrier(2)

    def try_it(row: Composition) -> bool:
        try:
            start.wait()
            with tenant_scope(cast.north):
                return promote(row, LIVE, by=cast.ada, seen=str(one.pk)) is not None
        except InputError:
            return False
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(try_it, (two, three))) == [False, True]
    with tenant_scope(cast.north):
        assert AliasChange.objects.filter(name=LIVE).count() == 2


@pytest.mark.parametrize(
    "verb", ["UPDATE registry_aliaschange SET reason = 'x'", "DELETE FROM registry_aliaschange"]
)
def test_history_is_append_only(cast: Cast, verb: str) -> None:
    with tenant_scope(cast.north):
        versions(cast, 1)
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(verb)
        assert AliasChange.objects.count() == 1


def test_rolling_back_returns_to_what_was_live_before(cast: Cast) -> None:
    with tenant_scope(cast.north):
        one, two, _ = versions(cast)
        with pytest.raises(InputError, match=r"alias\.no_previous"):
            roll_back("Devices", by=cast.ada)
        promote(one, LIVE, by=cast.ada)
        promote(two, LIVE, by=cast.ada)
        roll_back("Devices", by=cast.ada)
        assert target() == one
        assert AliasChange.objects.filter(name=LIVE).count() == 3


def test_nothing_moves_to_or_back_to_a_barred_version(cast: Cast) -> None:
    with tenant_scope(cast.north):
        one, two, _ = versions(cast)
        promote(one, LIVE, by=cast.ada)
        promote(two, LIVE, by=cast.ada)
        quarantine(one, by=cast.ada, reason="It leaks.")
        with pytest.raises(InputError, match=r"composition\.quarantined"):
            promote(one, LIVE, by=cast.ada)
        with pytest.raises(InputError, match=r"alias\.no_previous"):
            roll_back("Devices", by=cast.ada)
        assert target() == two


def test_whoever_lost_a_corpus_cannot_roll_back_to_its_model(cast: Cast) -> None:
    with tenant_scope(cast.north):
        one, two, _ = versions(cast)
        promote(one, LIVE, by=cast.ada)
        promote(two, LIVE, by=cast.ada)
        with pytest.raises(InputError, match=r"composition\.closure"):
            roll_back("Devices", by=cast.bo)
