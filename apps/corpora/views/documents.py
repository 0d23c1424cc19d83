"""Pages of documents: text beside the original, facts, the original itself, leaving one out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_POST

from apps.corpora import actions
from apps.corpora.extraction import ALLOWED, LIMITS, Limits, page_picture
from apps.corpora.models import Document, Right
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from calm_engine.errors import InputError, InternalError
from counterpoint.keyset import page_among
from counterpoint.plaincopies import plain_copy
from counterpoint.sending import SentInPieces
from counterpoint.storage import blobs
from counterpoint.wording import sentence

PAGES = 10  # pages of a document shown at once
ROOM = 20_000  # characters of a text without pages shown at once
DOUBTS = {
    "garbled": _("many unreadable characters"),
    "symbols": _("more signs than letters"),
    "repetitive": _("the same lines again and again"),
    "short": _("very short"),
}
PICTURE_LIMITS = Limits(cpu=10, wall=20, memory=LIMITS.memory)


@dataclass(frozen=True)
class Leaf:
    """One page of a document's text; `number` counts from 1.

    found   what an address points at on this page, between `text` and `rest`
    """

    number: int
    text: str
    found: str = ""
    rest: str = ""


def leaves(document: Document, text: str, found: range = range(0)) -> list[Leaf]:
    """The text cut where its pages begin, or into even parts when it has none.

    found   characters of the text that are to be marked, on as many pages as they stand
    """
    starts = document.pages or list(range(0, max(1, len(text)), ROOM))
    ends = [*starts[1:], len(text)]
    cut = []
    for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        begin, stop = max(start, found.start), min(end, found.stop)
        if begin < stop:
            cut.append(Leaf(number, text[start:begin], text[begin:stop], text[stop:end]))
        else:
            cut.append(Leaf(number, text[start:end]))
    return cut


def pointed_at(request: MemberRequest) -> range:
    """The characters that an address names by `from` and `to`; nonsense names none."""
    told = [request.GET.get(name, "") for name in ("from", "to")]
    if not all(each.isascii() and each.isdecimal() and len(each) < 12 for each in told):
        return range(0)
    return range(int(told[0]), int(told[1]))


def shown(request: MemberRequest, cut: list[Leaf]) -> dict[str, Any]:
    """The leaves that the address asks for by `page`, else those with what it points at."""
    found_on = next((leaf.number for leaf in cut if leaf.found), 0)
    skipped = max(0, found_on - 1) // PAGES * PAGES
    page = page_among(cut, request.GET, lambda leaf: (leaf.number,), size=PAGES, skipped=skipped)
    return {"page": page, "found_on": found_on, "leaves": len(cut)}


@require_GET
@member()
def document(request: MemberRequest, code: UUID) -> HttpResponse:
    """One document: its text beside the pages it was read from, and the facts about it."""
    row = fetch(request, Document, code)
    facts: dict[str, Any] = {
        "document": row,
        "doubts": [DOUBTS.get(word, word) for word in row.facts.get("doubts", [])],
        "facts": {name: value for name, value in row.facts.items() if name != "doubts"},
        "may_curate": row.corpus.may(request.user, Right.CURATE),
        "may_export": row.corpus.may(request.user, Right.EXPORT),
        "share": round(100 * (row.similarity or 0)),
        "has_pictures": row.media_type == "application/pdf",
        "accept": ",".join(f".{ending}" for ending in ALLOWED),
    }
    try:
        text = actions.text_of(row)
    except InternalError:
        facts["lost"] = True
    else:
        facts |= shown(request, leaves(row, text, pointed_at(request)))
    return render(request, "corpora/document.html", facts)


@require_GET
@cache_control(private=True, max_age=3600)
@member()
def page_image(request: MemberRequest, code: UUID) -> HttpResponse:
    """Page `n` of the original as a picture: whoever may read the text may see its pages."""
    row = fetch(request, Document, code)
    asked = request.GET.get("n", "1")
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 8 else 0
    if row.media_type != "application/pdf" or not 1 <= number <= max(1, len(row.pages)):
        raise Http404("There is no such page.")
    try:
        sealed = blobs().open("original", row.original_digest)
        with plain_copy(sealed, str(row.tenant_id)) as path:
            drawn = page_picture(path, number - 1, limits=PICTURE_LIMITS, scratch=path.parent)
    except (InputError, InternalError) as error:
        raise Http404("This page cannot be shown as a picture.") from error
    return HttpResponse(
        drawn, content_type="image/png", headers={"X-Content-Type-Options": "nosniff"}
    )


@require_GET
@member()
def original(request: MemberRequest, code: UUID) -> HttpResponse | SentInPieces:
    """The original bytes, as an attachment only: an upload never opens in our origin."""
    row = fetch(request, Document, code)
    actions.must(row.corpus, request.user, Right.EXPORT)
    try:
        file = blobs().open("original", row.original_digest)
    except InternalError:
        return render(request, "corpora/lost.html", {"document": row}, status=410)
    return SentInPieces(file, row.path.rpartition("/")[2])


@require_POST
@member(Role.CURATOR)
def withdraw(request: MemberRequest, code: UUID) -> HttpResponse:
    """Take a document out of every later snapshot."""
    row = fetch(request, Document, code)
    actions.withdraw(row, by=request.user)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def restore(request: MemberRequest, code: UUID) -> HttpResponse:
    """Take a withdrawal back."""
    row = fetch(request, Document, code)
    actions.restore(row, by=request.user)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def delete(request: MemberRequest, code: UUID) -> HttpResponse:
    """Delete a withdrawn document for good."""
    row = fetch(request, Document, code)
    try:
        actions.delete(row, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect(row)
    messages.success(request, _("The document is deleted."))
    return redirect(row.corpus)


@require_POST
@member(Role.CURATOR)
def replace(request: MemberRequest, code: UUID) -> HttpResponse:
    """Send a file that takes the place of a document: that one is withdrawn once it is stored."""
    row = fetch(request, Document, code)
    file = request.FILES.get("file")
    if file is None:
        messages.error(request, _("Choose the file that takes its place."))
        return redirect(row)
    upload = actions.receive(row.corpus, [file], by=request.user, paths=[row.path], replaces=[row])
    return redirect(upload)


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
