"""What a curator does with one document, and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from apps.audit import actions as audit
from apps.corpora.models import (
    Document,
    DocumentState,
    Right,
)
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

from apps.corpora.actions.access import must


def text_of(document: Document) -> str:
    """The whole extracted text, from storage."""
    with blobs().open("text", document.text_digest) as file:
        return file.read().decode()


@transaction.atomic
def exclude(document: Document, *, by: User) -> None:
    """Leave a document out of the next snapshot. What models already learned stays learned."""
    _set_state(document, DocumentState.READY, DocumentState.EXCLUDED, "document.exclude", by)


@transaction.atomic
def include(document: Document, *, by: User) -> None:
    """Take a document that was left out into the next snapshot again."""
    _set_state(document, DocumentState.EXCLUDED, DocumentState.READY, "document.include", by)


def _set_state(document: Document, old: str, new: str, action: str, by: User) -> None:
    must(document.corpus, by, Right.CURATE)
    moved = Document.objects.filter(pk=document.pk, state=old).update(state=new)
    if moved:
        audit.record(action, document, by=by)
