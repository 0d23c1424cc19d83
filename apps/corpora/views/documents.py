"""Pages of documents: text, facts, the original, and leaving one out."""

from __future__ import annotations

from uuid import UUID

from django.http import (
    FileResponse,
    HttpResponse,
)
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.corpora import actions
from apps.corpora.models import (
    Document,
    Right,
)
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from counterpoint.storage import blobs


@require_GET
@member()
def document(request: MemberRequest, code: UUID) -> HttpResponse:
    """One document: its text, and the facts about it."""
    row = fetch(request, Document, code)
    facts = {
        "document": row,
        "text": actions.text_of(row),
        "may_curate": row.corpus.may(request.user, Right.CURATE),
        "may_export": row.corpus.may(request.user, Right.EXPORT),
    }
    return render(request, "corpora/document.html", facts)


@require_GET
@member()
def original(request: MemberRequest, code: UUID) -> FileResponse:
    """The original bytes, as an attachment only: an upload never opens in our origin."""
    row = fetch(request, Document, code)
    actions.must(row.corpus, request.user, Right.EXPORT)
    file = blobs().open("original", row.original_digest)
    name = row.path.rpartition("/")[2]
    return FileResponse(
        file, as_attachment=True, filename=name, content_type="application/octet-stream"
    )


@require_POST
@member(Role.CURATOR)
def include(request: MemberRequest, code: UUID) -> HttpResponse:
    """Take a document that was left out into the next snapshot again."""
    row = fetch(request, Document, code)
    actions.include(row, by=request.user)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def exclude(request: MemberRequest, code: UUID) -> HttpResponse:
    """Leave a document out of the next snapshot; what models learned stays learned."""
    row = fetch(request, Document, code)
    actions.exclude(row, by=request.user)
    return redirect(row)
