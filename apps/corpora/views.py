"""Pages of corpora: the list, one corpus with its tabs, uploads, documents, freezing.

GET reads, POST acts. Who may see a corpus is `readable_by`; what else they may, the action checks.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q, Sum
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.corpora import actions
from apps.corpora.extraction import ALLOWED, WORDS_FOR_TYPES
from apps.corpora.forms import CorpusForm, FreezeForm, GrantForm
from apps.corpora.models import (
    Corpus,
    CorpusGrant,
    Document,
    ItemState,
    Right,
    Snapshot,
    Upload,
)
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.wording import sentence
from counterpoint.database import current_tenant_id
from counterpoint.live import HEARTBEAT_SECONDS, listen, sse, sse_response
from counterpoint.storage import blobs

PAGE = 50
REDRAWN_EVERY = 1.0  # seconds at least between two drawings of an upload's card
TABS = ("documents", "uploads", "examples", "snapshots", "access")


# --- corpora -----------------------------------------------------------------------------------


@require_GET
@member()
def corpora(request: MemberRequest) -> HttpResponse:
    """The corpora that this person may read."""
    rows = Corpus.objects.readable_by(request.user).select_related("owner")
    ready = Q(documents__state="ready")
    rows = rows.annotate(
        ready=Count("documents", filter=ready), words=Sum("documents__tokens", filter=ready)
    )
    return render(request, "corpora/list.html", {"corpora": rows})


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def new(request: MemberRequest) -> HttpResponse:
    """Open a corpus; its owner alone may read it at first."""
    form = CorpusForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            return redirect(actions.create_corpus(**form.cleaned_data, by=request.user))
        except InputError as error:
            form.add_error("name", sentence(error))
    return render(request, "corpora/new.html", {"form": form})


@require_GET
@member()
def corpus(request: MemberRequest, code: UUID) -> HttpResponse:
    """One corpus: its documents, uploads, examples, snapshots and who may do what with it."""
    row = fetch(request, Corpus, code)
    tab = request.GET.get("tab", TABS[0])
    facts: dict[str, Any] = {
        "corpus": row,
        "tab": tab if tab in TABS else TABS[0],
        "tabs": _tabs(row),
        "may_curate": row.may(request.user, Right.CURATE),
        "is_owner": row.owner_id == request.user.pk,
        "types": WORDS_FOR_TYPES,
        "accept": ",".join(f".{ending}" for ending in ALLOWED),
        "latest": row.snapshots.first(),
    }
    return render(request, "corpora/corpus.html", facts | _shown(request, row, facts["tab"]))


def _tabs(row: Corpus) -> list[tuple[str, str, int | None]]:
    return [
        ("documents", _("Documents"), row.documents.count()),
        ("uploads", _("Uploads"), row.uploads.count()),
        ("examples", _("Questions and answers"), row.examples.count()),
        ("snapshots", _("Snapshots"), row.snapshots.count()),
        ("access", _("Access"), None),
    ]


def _shown(request: MemberRequest, row: Corpus, tab: str) -> dict[str, Any]:
    """What the open tab needs, and nothing for the others."""
    if tab == "access":
        grants = row.grants.select_related("user", "group")
        return {"grants": grants, "form": GrantForm()}
    sources: dict[str, Callable[[], Any]] = {
        "documents": lambda: _documents(request, row),
        "uploads": lambda: row.uploads.select_related("by"),
        "examples": lambda: row.examples.all(),
        "snapshots": lambda: row.snapshots.select_related("frozen_by"),
    }
    page = Paginator(sources[tab](), PAGE).get_page(request.GET.get("page"))
    for one in page:
        if tab == "uploads":
            one.counted = one.tally()
    return {"page": page, "query": request.GET.get("q", "")}


def _documents(request: HttpRequest, row: Corpus) -> Any:
    query = request.GET.get("q", "").strip()
    found = row.documents.all()
    return found.filter(Q(title__icontains=query) | Q(path__icontains=query)) if query else found


# --- uploads -----------------------------------------------------------------------------------


@require_POST
@member(Role.CURATOR)
def receive(request: MemberRequest, code: UUID) -> HttpResponse:
    """Take files in: from the drop zone in batches of one upload, or from a plain form."""
    row = fetch(request, Corpus, code)
    files = request.FILES.getlist("files")
    if not files:
        return _said(request, row, _("Choose at least one file."))
    try:
        delivery = actions.receive(
            row,
            files,
            by=request.user,
            paths=request.POST.getlist("paths"),
            upload=_uuid(request.POST.get("upload", "")),
        )
    except InputError as error:
        return _said(request, row, sentence(error))
    if request.accepts("text/html") and "X-Upload-Batch" not in request.headers:
        return redirect(delivery)
    return JsonResponse({"url": delivery.get_absolute_url(), "upload": str(delivery.pk)})


def _said(request: MemberRequest, row: Corpus, words: str) -> HttpResponse:
    """A refusal, to the page's script or to a person without one."""
    if "X-Upload-Batch" in request.headers:
        return JsonResponse({"error": words}, status=400)
    messages.error(request, words)
    return redirect(row)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


@require_GET
@member()
def upload(request: MemberRequest, code: UUID) -> HttpResponse:
    """The card of one upload: its equation, and each file's outcome."""
    row = fetch(request, Upload, code)
    return render(request, "corpora/upload.html", _card(request, row))


def _card(request: HttpRequest, row: Upload) -> dict[str, Any]:
    state = request.GET.get("state", "")
    items = row.items.files().select_related("document")
    items = items.filter(state=state) if state in ItemState.values else items
    return {
        "upload": row,
        "tally": row.tally(),
        "page": Paginator(items, PAGE).get_page(request.GET.get("page")),
        "state": state,
        "retriable": actions.retriable(row).count(),
    }


@require_GET
@member()
async def events(request: HttpRequest, code: UUID) -> StreamingHttpResponse:
    """Server-sent events of one upload: its card drawn again as files are settled."""
    tenant_id = request.tenant.pk  # type: ignore[attr-defined]  # set by the middleware
    await sync_to_async(_region)(request, tenant_id, code)  # 404 now, not in the stream
    return sse_response(_events(request, tenant_id, code))


async def _events(request: HttpRequest, tenant_id: UUID, code: UUID) -> AsyncIterator[bytes]:
    """Draw the card now, then after news, at most once a second; in silence every 15 seconds,
    which keeps the connection and ends it when the right to read was taken back."""
    current_tenant_id.set(tenant_id)  # this stream's own context: the request's has ended
    changed = asyncio.Event()
    watching = asyncio.create_task(_watch(code, changed))
    try:
        while not watching.done():
            changed.clear()
            yield await sync_to_async(_region)(request, tenant_id, code)
            await asyncio.sleep(REDRAWN_EVERY)
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS - REDRAWN_EVERY)
    except Http404:
        return
    finally:
        watching.cancel()


async def _watch(code: UUID, changed: asyncio.Event) -> None:
    """Note that there was news; a burst of it is one change."""
    async for news in listen(f"upload:{code}"):
        if news is not None:
            changed.set()


def _region(request: HttpRequest, tenant_id: UUID, code: UUID) -> bytes:
    """The card as it is now. Raises Http404 when this person may not see it any more."""
    with tenant_scope(tenant_id):
        card = _card(request, fetch(request, Upload, code))
        html = render_to_string("corpora/_card.html", card, request=request)
        return sse("region", {"id": "upload-card", "html": html})


@require_GET
@member()
def outcomes(request: MemberRequest, code: UUID) -> HttpResponse:
    """Every file's outcome as CSV."""
    row = fetch(request, Upload, code)
    held = io.StringIO()
    writer = csv.writer(held)
    writer.writerow(["path", "bytes", "sha256", "outcome", "code", "reason"])
    for item in row.items.files().iterator():
        cells = (item.path, item.size, item.digest, item.state, item.code, item.reason)
        writer.writerow([_harmless(cell) for cell in cells])
    return HttpResponse(
        held.getvalue(),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="outcomes.csv"'},
    )


def _harmless(cell: object) -> object:
    """A file's name must not run as a formula in whoever's spreadsheet (CWE-1236)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(tuple("=+-@\t\r")) else cell


@require_POST
@member(Role.CURATOR)
def retry(request: MemberRequest, code: UUID) -> HttpResponse:
    """Read an upload's rejected files once more."""
    row = fetch(request, Upload, code)
    count = actions.retry(row, by=request.user)
    messages.info(
        request,
        ngettext("%(n)d file is read again.", "%(n)d files are read again.", count) % {"n": count},
    )
    return redirect(row)


# --- documents ---------------------------------------------------------------------------------


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


# --- examples, snapshots, access ---------------------------------------------------------------


@require_POST
@member(Role.CURATOR)
def add_examples(request: MemberRequest, code: UUID) -> HttpResponse:
    """Add a curator's questions and answers from a file."""
    row = fetch(request, Corpus, code)
    file = request.FILES.get("file")
    if file is None:
        messages.error(request, _("Choose a CSV or JSON lines file."))
        return redirect(f"{row.get_absolute_url()}?tab=examples")
    try:
        receipt = actions.add_examples(row, file, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect(f"{row.get_absolute_url()}?tab=examples")
    told = {"added": receipt.added, "twice": receipt.duplicates, "bad": len(receipt.rejected)}
    messages.success(
        request, _("%(added)d added, %(twice)d known already, %(bad)d refused.") % told
    )
    for number, why in receipt.rejected[:10]:
        messages.warning(request, _("Row %(number)d: %(why)s") % {"number": number, "why": why})
    return redirect(f"{row.get_absolute_url()}?tab=examples")


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def freeze(request: MemberRequest, code: UUID) -> HttpResponse:
    """Show what the next snapshot would change; freeze it."""
    row = fetch(request, Corpus, code)
    actions.must(row, request.user, Right.CURATE)
    form = FreezeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            return redirect(actions.freeze(row, note=form.cleaned_data["note"], by=request.user))
        except InputError as error:
            form.add_error(None, sentence(error))
    facts = {"corpus": row, "form": form, "changes": actions.changes(row)}
    return render(request, "corpora/freeze.html", facts)


@require_GET
@member()
def snapshot(request: MemberRequest, code: UUID) -> HttpResponse:
    """One snapshot: what it holds, what is held out, what came of it."""
    row = fetch(request, Snapshot, code)
    slices = [where for _digest, where in row.manifest["examples"]]
    named = {
        "bridge": _("for the bridges"),
        "unseen_entity": _("held out: unseen entity"),
        "unseen_value": _("held out: unseen value"),
    }
    facts = {
        "snapshot": row,
        "slices": [(label, slices.count(name)) for name, label in named.items()],
        "titles": [title for _digest, _text, title in row.manifest["documents"][:200]],
        "may_curate": row.corpus.may(request.user, Right.CURATE),
    }
    return render(request, "corpora/snapshot.html", facts)


@require_POST
@member(Role.CURATOR)
def grant(request: MemberRequest, code: UUID) -> HttpResponse:
    """Give a person or a group a right on this corpus."""
    row = fetch(request, Corpus, code)
    form = GrantForm(request.POST)
    if form.is_valid():
        actions.grant(row, form.chosen(), form.cleaned_data["right"], by=request.user)
    else:
        messages.error(request, _("Choose a person or a group, and a right."))
    return redirect(f"{row.get_absolute_url()}?tab=access")


@require_POST
@member(Role.CURATOR)
def revoke(request: MemberRequest, code: UUID) -> HttpResponse:
    """Take a right back; it ends with the next request of whoever had it."""
    row = fetch(request, CorpusGrant, code)
    actions.revoke(row, by=request.user)
    return redirect(f"{row.corpus.get_absolute_url()}?tab=access")
