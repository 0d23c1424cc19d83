"""What a curator does with one document, its text, and what its state follows from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Now

from apps.audit import actions as audit
from apps.corpora.actions import duplicates
from apps.corpora.actions.access import must
from apps.corpora.models import Corpus, Document, DocumentState, Flag, FlagState, Right
from calm_engine.errors import InputError
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User


GONE = (DocumentState.WITHDRAWN, DocumentState.DELETED)
# What a document's state follows from, besides its open flags.
FOLLOWS = ("left_out", "duplicate_of", "similarity", "kept_apart")


def text_of(document: Document) -> str:
    """The whole extracted text, from storage. Raises InternalError("blob.missing")."""
    with blobs().open("text", document.text_digest) as file:
        return file.read().decode()


def state_now() -> Case:
    """The state that follows from what is known of a document: the only place that says how.

    A withdrawal stands over a person's wish to leave it out, that over being a copy of another,
    that over an open question of review. What is withdrawn stays so until it is restored, and
    nothing brings back what is deleted.
    """
    questions = Flag.objects.filter(document=OuterRef("pk"), state=FlagState.OPEN)
    return Case(
        When(state__in=GONE, then=F("state")),
        When(left_out=True, then=Value(DocumentState.EXCLUDED)),
        When(duplicate_of__isnull=False, then=Value(DocumentState.DUPLICATE)),
        When(Exists(questions), then=Value(DocumentState.HELD)),
        default=Value(DocumentState.READY),
    )


def settle(document: Document) -> None:
    """Save what a document's state follows from, and the state."""
    document.save(update_fields=FOLLOWS)
    Document.objects.filter(pk=document.pk).update(state=state_now())
    document.refresh_from_db(fields=["state"])


def locked(document: Document) -> Document:
    """The row as it is now, held until the end of the transaction."""
    rows = Document.objects.select_related("corpus").select_for_update(of=("self",))
    now: Document = rows.get(pk=document.pk)
    return now


@transaction.atomic
def exclude(document: Document, *, by: User) -> None:
    """Leave a document out of the next snapshot. What models already learned stays learned."""
    _leave_out(document, by, wish=True)


@transaction.atomic
def include(document: Document, *, by: User) -> None:
    """Take a document that was left out into the next snapshot again."""
    _leave_out(document, by, wish=False)


def _leave_out(document: Document, by: User, *, wish: bool) -> None:
    must(document.corpus, by, Right.CURATE)
    now = locked(document)
    if now.left_out == wish:
        return
    now.left_out = wish
    settle(now)
    document.state = now.state
    audit.record("document.exclude" if wish else "document.include", document, by=by)


@transaction.atomic
def keep_apart(document: Document, *, by: User) -> None:
    """Say that a document is no copy of another: it stands for itself from now on."""
    must(document.corpus, by, Right.CURATE)
    now = locked(document)
    if now.duplicate_of_id is None:
        return
    other = str(now.duplicate_of_id)
    now.duplicate_of, now.similarity, now.kept_apart = None, None, True
    settle(now)
    duplicates.stand_for(now, text_of(now))
    audit.record("document.keep_apart", document, by=by, other=other)


@transaction.atomic
def fold_in(document: Document, *, by: User) -> bool:
    """Take back `keep_apart`: compare the document again. True when it is a copy once more."""
    must(document.corpus, by, Right.CURATE)
    now = locked(document)
    now.kept_apart = False
    duplicates.leave(now)
    duplicates.place(now, text_of(now))
    settle(now)
    audit.record("document.fold_in", document, by=by, copy=now.duplicate_of_id is not None)
    return now.duplicate_of_id is not None


def withdraw(document: Document, *, by: User) -> None:
    """Take a document out of every later snapshot; what models learned stays learned."""
    _move(document, "withdraw", by)


def restore(document: Document, *, by: User) -> None:
    """Take a withdrawal back."""
    _move(document, "restore", by)


def _move(document: Document, act: str, by: User) -> None:
    act_on(document.corpus, Document.objects.filter(pk=document.pk), act, by=by)
    document.refresh_from_db(fields=["state", "withdrawn_at", "replaced_by"])


# --- many at once ------------------------------------------------------------------------------


@transaction.atomic
def act_on(corpus: Corpus, rows: QuerySet[Document], act: str, *, by: User) -> int:
    """Do one thing to every document that a filter names, whatever page shows it; how many moved.

    act  exclude, include, withdraw or restore. Withdrawing takes nothing away: a document only
         leaves what is learned next.
    """
    must(corpus, by, Right.CURATE)
    wish: dict[str, tuple[Q, dict[str, object]]] = {
        "exclude": (Q(left_out=False), {"left_out": True}),
        "include": (Q(left_out=True), {"left_out": False}),
        "withdraw": (
            ~Q(state__in=GONE),
            {"state": DocumentState.WITHDRAWN, "withdrawn_at": Now()},
        ),
        "restore": (
            Q(state=DocumentState.WITHDRAWN),
            {"state": DocumentState.READY, "withdrawn_at": None, "replaced_by": None},
        ),
    }
    if act not in wish:
        raise InputError("document.act", act=act)
    which, values = wish[act]
    moved = list(rows.filter(which, corpus=corpus).select_for_update().values_list("pk", flat=True))
    chosen = Document.objects.filter(pk__in=moved)
    chosen.update(**values)
    chosen.update(state=state_now())
    if moved:
        facts = {"document": str(moved[0])} if len(moved) == 1 else {}
        audit.record(f"document.{act}", corpus, by=by, documents=len(moved), **facts)
    return len(moved)
