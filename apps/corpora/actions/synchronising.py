"""Brings what is new or changed in a place outside into a corpus; what is gone is only proposed.

A synchronisation that dies is taken up again: what it had brought is known by its mark and does not
travel twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from apps.audit import actions as audit
from apps.corpora import connectors
from apps.corpora.actions.access import must
from apps.corpora.actions.documents import act_on
from apps.corpora.actions.receiving import receive, storable
from apps.corpora.connectors import Found, Place
from apps.corpora.models import (
    Connection,
    Corpus,
    Document,
    ItemState,
    Right,
    SourceFile,
    Upload,
    UploadItem,
)
from apps.corpora.parsing.kinds import safe_path
from apps.tenants.scope import current_tenant
from calm_engine.errors import InputError
from counterpoint.celery import send

if TYPE_CHECKING:
    from apps.accounts.models import User

AT_ONCE = 100  # files asked of the database, and brought in one transaction
LEASE = timedelta(minutes=15)  # renewed with each batch
LOST_AFTER = timedelta(seconds=45)


def places() -> list[connectors.Named]:
    """The places that IT named for the tenant in scope. Raises InputError("source.settings")."""
    tenant = current_tenant()
    return connectors.named(tenant.slug) if tenant else []


@transaction.atomic
def connect(corpus: Corpus, source: str, *, by: User) -> Connection:
    """Keep a corpus up to date from a place. Raises InputError("source.gone")."""
    must(corpus, by, Right.CURATE)
    if source not in {each.name for each in places()}:
        raise InputError("source.gone", name=source)
    found: Connection
    found, is_new = Connection.objects.get_or_create(
        corpus=corpus, source=source, defaults={"by": by}
    )
    if is_new:
        audit.record("connection.open", found, by=by, source=source)
    return found


@transaction.atomic
def disconnect(connection: Connection, *, by: User) -> None:
    """Know nothing of a place any more; the documents that came from it stay."""
    must(connection.corpus, by, Right.CURATE)
    audit.record("connection.close", connection, by=by, source=connection.source)
    connection.delete()


@transaction.atomic
def ask_to_synchronise(connection: Connection, *, by: User) -> None:
    """Have a worker look for what is new; asked twice it is one synchronisation."""
    must(connection.corpus, by, Right.CURATE)
    rows = Connection.objects.filter(pk=connection.pk, asked_at__isnull=True)
    if rows.update(asked_at=Now(), by=by, code="", facts={}):
        audit.record("connection.synchronise", connection, by=by)
    send("ingestion.synchronise", str(connection.tenant_id), str(connection.pk))


@transaction.atomic
def claim_connection(connection_id: UUID | str) -> Connection | None:
    """Take a synchronisation; None when another worker has it or nobody asked for it."""
    free = Q(claimed_at__isnull=True) | Q(claimed_at__lt=Now() - LEASE)
    rows = Connection.objects.filter(free, pk=connection_id, asked_at__isnull=False)
    if not rows.update(claimed_at=Now(), round=F("round") + 1):
        return None
    row: Connection = Connection.objects.select_related("corpus", "by").get(pk=connection_id)
    return row


@dataclass(frozen=True)
class Remote:
    """A file of a place as an upload wants it."""

    place: Place
    found: Found

    @property
    def name(self) -> str:
        return self.found.path.rpartition("/")[2]

    @property
    def size(self) -> int:
        return self.found.size

    def chunks(self) -> Iterator[bytes]:
        return self.place.read(self.found)


class Synchronisation:
    """One round over the files of a place, a batch at a time; each batch is a transaction."""

    def __init__(self, connection: Connection) -> None:
        tenant = current_tenant()
        self.connection, self.upload = connection, uuid4()
        self.place = connectors.place(connection.source, tenant.slug if tenant else "")
        self.files = self.place.files()

    @transaction.atomic
    def step(self) -> bool:
        """Bring the next batch; False behind the last. Raises InputError, PermissionDenied."""
        some = list(islice(self.files, AT_ONCE))
        ours = Connection.objects.filter(pk=self.connection.pk, round=self.connection.round)
        if not some or not ours.update(claimed_at=Now()):
            return False
        known = {row.key: row for row in self._known(some)}
        met = [known[key(one)] for one in some if key(one) in known]
        SourceFile.objects.filter(pk__in=[row.pk for row in met]).update(
            round=self.connection.round, gone_at=None
        )
        new = [one for one in some if key(one) not in known or known[key(one)].mark != one.mark]
        if new:
            self._bring(new, known)
        return True

    def _known(self, some: list[Found]) -> QuerySet[SourceFile]:
        rows = SourceFile.objects.filter(
            connection=self.connection, key__in=[key(one) for one in some]
        )
        found: QuerySet[SourceFile] = rows.select_related("item__document")
        return found

    def _bring(self, new: list[Found], known: dict[str, SourceFile]) -> None:
        receive(
            self.connection.corpus,
            [Remote(self.place, one) for one in new],
            by=self.connection.by,
            paths=[one.path for one in new],
            upload=self.upload,
            source=f"connection {self.connection.source}"[:40],
            replaces=[_earlier(known.get(key(one))) for one in new],
        )
        came = Upload.objects.get(pk=self.upload).items.filter(parent__isnull=True)
        items = {item.path: item for item in came}
        SourceFile.objects.bulk_create(
            [
                SourceFile(
                    connection=self.connection,
                    key=key(one),
                    path=one.path.replace("\0", "\ufffd"),
                    mark=_mark(one, items[_stored_as(one)]),
                    item=items[_stored_as(one)],
                    round=self.connection.round,
                )
                for one in new
            ],
            update_conflicts=True,
            unique_fields=["tenant", "connection", "key"],
            update_fields=["mark", "item", "round", "gone_at"],
        )


def key(found: Found) -> str:
    return hashlib.sha256(found.path.encode(errors="surrogateescape")).hexdigest()


def _stored_as(found: Found) -> str:
    """The path that an upload's item has for this file."""
    return storable(safe_path(found.path) or found.path)


def _mark(found: Found, item: UploadItem) -> str:
    """What the file is known by; nothing of one that was not read, so that it is tried again."""
    return "" if item.code == "source.unreachable" else found.mark


def _earlier(row: SourceFile | None) -> Document | None:
    """The document that the changed file takes the place of: only one that came from it."""
    if row is None or row.item.state != ItemState.STORED:
        return None
    return row.item.document


@transaction.atomic
def finish_synchronising(connection: Connection, refused: InputError | None) -> None:
    """Say how a round ended. Only a whole one tells which files are gone."""
    ours = Connection.objects.filter(pk=connection.pk, round=connection.round)
    code = refused.code if refused else ""
    facts = {name: str(fact) for name, fact in refused.facts.items()} if refused else {}
    moved = ours.update(asked_at=None, claimed_at=None, finished_at=Now(), code=code, facts=facts)
    if moved and refused is None:
        late = connection.files.filter(round__lt=connection.round, gone_at__isnull=True)
        late.update(gone_at=Now())


def refusal_of(error: InputError | PermissionDenied) -> InputError:
    return error if isinstance(error, InputError) else InputError("source.right")


# --- what is gone there ---------------------------------------------------------------------------


def proposed(connection: Connection) -> QuerySet[Document]:
    """Documents whose file is gone from the place, and that no file still there gave."""
    gone = connection.files.filter(gone_at__isnull=False).values("item")
    there = SourceFile.objects.filter(gone_at__isnull=True).values("item")
    items = UploadItem.objects.filter(Q(pk__in=gone) | Q(parent__in=gone))
    items = items.filter(state=ItemState.STORED)
    kept = UploadItem.objects.filter(Q(pk__in=there) | Q(parent__in=there))
    rows: QuerySet[Document] = Document.objects.filter(corpus=connection.corpus_id)
    rows = rows.filter(pk__in=items.values("document"))
    rows = rows.exclude(pk__in=kept.filter(document__isnull=False).values("document"))
    return rows.exclude(state__in=("withdrawn", "deleted"))


def withdraw_gone(connection: Connection, *, by: User) -> int:
    """Withdraw every document that is proposed; how many."""
    return act_on(connection.corpus, proposed(connection), "withdraw", by=by)


def reconcile_connections() -> None:
    """Wake a worker for synchronisations whose message or whose worker was lost."""
    late = Q(claimed_at__isnull=True, asked_at__lt=Now() - LOST_AFTER)
    for row in Connection.objects.filter(late | Q(claimed_at__lt=Now() - LEASE)):
        send("ingestion.synchronise", str(row.tenant_id), str(row.pk))
