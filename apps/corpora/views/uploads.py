"""Pages of uploads: taking files in, the card of one delivery, its live region."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import (
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
from django.views.decorators.http import require_GET, require_POST

from apps.corpora import actions
from apps.corpora.models import (
    Corpus,
    ItemState,
    Right,
    Upload,
)
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.database import current_tenant_id
from counterpoint.keyset import Order, page_of
from counterpoint.live import HEARTBEAT_SECONDS, apart, listen, sse, sse_response
from counterpoint.wording import sentence

PAGE = 50
REDRAWN_EVERY = 1.0  # seconds at least between two drawings of an upload's card


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
    facts = _card(request, row) | {"may_curate": row.corpus.may(request.user, Right.CURATE)}
    return render(request, "corpora/upload.html", facts)


def _card(request: HttpRequest, row: Upload) -> dict[str, Any]:
    state = request.GET.get("state", "")
    items = row.items.files().select_related("document")
    items = items.filter(state=state) if state in ItemState.values else items
    return {
        "upload": row,
        "tally": row.tally(),
        "page": page_of(items, request.GET, *_orders(), size=PAGE),
        "state": state,
        "retriable": actions.retriable(row).count(),
    }


def _orders() -> tuple[Order, ...]:
    came, path = ("created_at", "pk"), ("path", "pk")
    return Order("came", _("as they came"), came), Order("path", _("path"), path)


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
            yield await apart(_region, request, tenant_id, code)
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
def retry_scans(request: MemberRequest, code: UUID) -> HttpResponse:
    """Read the scanned PDFs of a corpus once more, now that text can be recognised."""
    row = fetch(request, Corpus, code)
    count = actions.retry_scans(row, by=request.user)
    words = ngettext("%(n)d file is read again.", "%(n)d files are read again.", count)
    messages.success(request, words % {"n": count})
    return redirect(f"{row.get_absolute_url()}?tab=uploads")


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


@require_POST
@member(Role.CURATOR)
def pause(request: MemberRequest, code: UUID) -> HttpResponse:
    """Read no more files of an upload until somebody lets it go on."""
    row = fetch(request, Upload, code)
    actions.pause(row, by=request.user)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def resume(request: MemberRequest, code: UUID) -> HttpResponse:
    """Go on with a paused upload."""
    row = fetch(request, Upload, code)
    actions.resume(row, by=request.user)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def cancel(request: MemberRequest, code: UUID) -> HttpResponse:
    """Refuse the files of an upload that nobody has begun to read."""
    row = fetch(request, Upload, code)
    count = actions.cancel_rest(row, by=request.user)
    messages.info(
        request,
        ngettext("%(n)d file was set aside.", "%(n)d files were set aside.", count) % {"n": count},
    )
    return redirect(row)
