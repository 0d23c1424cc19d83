"""Objects of North for the walk of strangers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apps.corpora import actions
from apps.corpora.models import Connection, Corpus, Document, Freezing, Snapshot, Upload
from apps.tenants.models import Group, GroupMember
from apps.tenants.scope import tenant_scope
from tests.apps.corpora.making import make_corpus, make_document, send
from tests.cast import Cast

Made = Callable[[Cast], dict[str, object]]


def corpus(cast: Cast) -> Corpus:
    return make_corpus(cast)


def upload(cast: Cast) -> Upload:
    return send(cast, make_corpus(cast), {"note.txt": b"words"})


def document(cast: Cast) -> Document:
    return make_document(cast)


def snapshot(cast: Cast) -> Snapshot:
    found = make_document(cast)
    with tenant_scope(cast.north):
        return actions.freeze(found.corpus, by=cast.ada)


def connection(cast: Cast) -> Connection:
    found = make_corpus(cast)
    with tenant_scope(cast.north):
        return Connection.objects.create(corpus=found, source="contracts", by=cast.ada)


def freezing(cast: Cast) -> Freezing:
    found = make_document(cast)
    with tenant_scope(cast.north):
        return actions.order_freeze(found.corpus, by=cast.ada)


def transfer(cast: Cast) -> Any:
    found = make_corpus(cast)
    with tenant_scope(cast.north):
        return actions.begin_transfer(found, "big.txt", 10, by=cast.ada)


def flag(cast: Cast) -> Any:
    found = make_document(cast, text="The card is 4111 1111 1111 1111.")
    with tenant_scope(cast.north):
        return found.flags.get()


def given(cast: Cast) -> Any:
    found = make_corpus(cast)
    with tenant_scope(cast.north):
        return actions.grant(found, cast.bo, "read", by=cast.ada)


def group(cast: Cast) -> Group:
    with tenant_scope(cast.north):
        return Group.objects.create(name="Sales")


def group_member(cast: Cast) -> GroupMember:
    with tenant_scope(cast.north):
        return GroupMember.objects.create(group=Group.objects.create(name="Sales"), user=cast.bo)


def code_of(made: Callable[[Cast], Any]) -> Made:
    return lambda cast: {"code": made(cast).pk}


VIEWS: dict[Callable[[Cast], Any], tuple[str, ...]] = {
    corpus: (
        "corpus",
        "receive",
        "transfers",
        "examples",
        "write_examples",
        "freeze",
        "grant",
        "review",
        "policies",
        "search",
        "bulk",
        "connect",
        "keeping",
        "repeats",
        "retry_scans",
    ),
    flag: ("decide",),
    transfer: ("transfer",),
    given: ("revoke",),
    upload: ("upload", "events", "outcomes", "received", "pause", "resume", "cancel", "retry"),
    document: (
        "document",
        "original",
        "page",
        "include",
        "exclude",
        "keep_apart",
        "fold_in",
        "withdraw",
        "restore",
        "replace",
        "delete",
    ),
    connection: ("synchronise", "withdraw_gone", "disconnect"),
    freezing: ("freezing",),
    snapshot: ("snapshot", "manifest"),
    group: ("add_member", "close_group"),
    group_member: ("drop_member",),
}
OBJECTS: dict[str, Made] = {
    f"corpora:{name}": code_of(made) for made, names in VIEWS.items() for name in names
}
