"""Pages of corpora: the list, one corpus with its tabs, and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q, Sum
from django.http import (
    HttpRequest,
    HttpResponse,
)
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.corpora import actions
from apps.corpora.extraction import ALLOWED, WORDS_FOR_TYPES
from apps.corpora.forms import CorpusForm, GrantForm
from apps.corpora.models import (
    Corpus,
    CorpusGrant,
    Right,
)
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from calm_engine.errors import InputError
from calm_engine.wording import sentence

PAGE = 50


TABS = ("documents", "uploads", "examples", "snapshots", "access")


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
