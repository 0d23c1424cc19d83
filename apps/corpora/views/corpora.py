"""Pages of corpora: the list, one corpus with its tabs, and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, QuerySet, Sum
from django.http import (
    HttpRequest,
    HttpResponse,
)
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.corpora import actions
from apps.corpora.extraction import ALLOWED, WORDS_FOR_TYPES
from apps.corpora.forms import CorpusForm, GrantForm, KeepingForm
from apps.corpora.listing import Wanted, counts, narrowed
from apps.corpora.models import (
    Corpus,
    CorpusGrant,
    Document,
    DocumentState,
    Right,
    Snapshot,
    tallies,
)
from apps.corpora.search import find
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from apps.tenants.typed import sought
from calm_engine.errors import InputError
from counterpoint.counting import counted, said
from counterpoint.keyset import NEWEST, OLDEST, Order, page_of
from counterpoint.wording import sentence

if TYPE_CHECKING:
    from apps.accounts.models import User

PAGE = 50


TABS = ("documents", "uploads", "sources", "examples", "snapshots", "access")


@require_GET
@member()
def corpora(request: MemberRequest) -> HttpResponse:
    """The corpora that this person may read, with what is ready in each of those shown."""
    wanted = sought(request)
    rows = Corpus.objects.readable_by(request.user).filter(name__icontains=wanted)
    page = page_of(rows.select_related("owner"), request.GET, *_orders(), size=PAGE)
    shown = [row.pk for row in page]
    ready = Document.objects.filter(corpus__in=shown, state=DocumentState.READY)
    counts = {
        corpus: (count, tokens)
        for corpus, count, tokens in ready.order_by()
        .values_list("corpus")
        .annotate(documents=Count("*"), size=Sum("tokens"))
    }
    facts = {"page": page, "wanted": wanted}
    facts["rows"] = [(row, *counts.get(row.pk, (0, 0))) for row in page]
    return render(request, "corpora/list.html", facts)


def _orders() -> tuple[Order, ...]:
    return Order("name", _("name"), ("name", "pk")), NEWEST


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
        "may_curate": row.may(request.user, Right.CURATE),
        "is_owner": row.owner_id == request.user.pk,
        "types": WORDS_FOR_TYPES,
        "accept": ",".join(f".{ending}" for ending in ALLOWED),
        "latest": _snapshots(row, request.user).first(),
    }
    facts |= _counted(row, request.user)
    return render(request, "corpora/corpus.html", facts | _shown(request, row, facts["tab"]))


def _snapshots(row: Corpus, user: User) -> QuerySet[Snapshot]:
    """Those with this corpus in them that this person may see: all of their corpora."""
    rows = Snapshot.objects.touching([row.pk]).visible_to(user)
    found: QuerySet[Snapshot] = rows.select_related("corpus", "frozen_by").defer("manifest")
    return found


def _counted(row: Corpus, user: User) -> dict[str, Any]:
    """How many things stand behind each tab, and how many passages wait for a decision."""
    rows = (row.documents, row.uploads, row.examples, row.flags.filter(state="open"))
    *counts, scans = counted(
        *(each.all() for each in rows), _snapshots(row, user), actions.scans(row)
    )
    documents, uploads, examples, flags, snapshots = (said(count) for count in counts)
    tabs: list[tuple[str, str, str | None]] = [
        ("documents", _("Documents"), documents),
        ("uploads", _("Uploads"), uploads),
        ("sources", _("Sources"), None),
        ("examples", _("Questions and answers"), examples),
        ("snapshots", _("Snapshots"), snapshots),
        ("access", _("Access"), None),
    ]
    return {"tabs": tabs, "open_flags": flags, "scans": scans}


def _shown(request: MemberRequest, row: Corpus, tab: str) -> dict[str, Any]:
    """What the open tab needs, and nothing for the others."""
    if tab == "access":
        grants = row.grants.select_related("user", "group")
        keeping = KeepingForm(initial={"days": row.withdrawn_days})
        return {"grants": grants, "form": GrantForm(), "keeping": keeping}
    if tab == "documents":
        return _documents(request, row)
    if tab == "sources":
        return _sources(row)
    sources: dict[str, Callable[[], Any]] = {
        "uploads": lambda: row.uploads.select_related("by"),
        "examples": lambda: row.examples.asking(sought(request)),
        "snapshots": lambda: _snapshots(row, request.user),
    }
    page = page_of(sources[tab](), request.GET, NEWEST, OLDEST, size=PAGE)
    if tab != "uploads":
        return {"page": page, "wanted": sought(request)}
    counts = tallies(page.rows)
    for one in page:
        one.counted = counts[one.pk]
    return {"page": page}


def _sources(row: Corpus) -> dict[str, Any]:
    """The connections of a corpus, what is gone there, and the places that could be connected."""
    connections = list(row.connections.all())
    for one in connections:
        gone = actions.proposed(one)
        one.known, one.gone = one.files.count(), gone.count()
        one.titles = gone.values_list("title", flat=True)[:PAGE]
    facts: dict[str, Any] = {"connections": connections}
    try:
        known = {one.source for one in connections}
        facts["places"] = [each.name for each in actions.places() if each.name not in known]
    except InputError as error:
        facts["error"] = sentence(error)
    return facts


def _documents(request: HttpRequest, row: Corpus) -> dict[str, Any]:
    wanted = Wanted.from_query(request.GET)
    by_path = Order("path", _("path"), ("sorting", "pk"))
    rows, found = narrowed(row, wanted)
    return {
        "page": page_of(rows, request.GET, by_path, NEWEST, size=PAGE),
        "wanted": wanted,
        "counts": counts(row),
        "found": found,
    }


@require_POST
@member(Role.CURATOR)
def bulk(request: MemberRequest, code: UUID) -> HttpResponse:
    """Do one thing to every document that the filters name, not only those on the page."""
    row = fetch(request, Corpus, code)
    wanted = Wanted.from_query(request.POST)
    try:
        moved = actions.act_on(row, wanted.of(row), request.POST.get("act", ""), by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect(row)
    words = ngettext("%(n)d document changed.", "%(n)d documents changed.", moved)
    messages.success(request, words % {"n": moved})
    return redirect(row)


@require_GET
@member()
def search(request: MemberRequest, code: UUID) -> HttpResponse:
    """The passages of a corpus that have certain words."""
    row = fetch(request, Corpus, code)
    query = request.GET.get("q", "")
    facts: dict[str, Any] = {"corpus": row, "query": query}
    try:
        facts["hits"] = find(row, query)
    except InputError as error:
        facts["error"] = sentence(error)
    return render(request, "corpora/search.html", facts)


@require_POST
@member(Role.CURATOR)
def keeping(request: MemberRequest, code: UUID) -> HttpResponse:
    """Say how long this corpus keeps what was withdrawn from it."""
    row = fetch(request, Corpus, code)
    form = KeepingForm(request.POST)
    if form.is_valid():
        actions.set_withdrawn_days(row, form.cleaned_data["days"], by=request.user)
    else:
        messages.error(request, _("Give a number of days from 0 to 36,500."))
    return redirect(f"{row.get_absolute_url()}?tab=access")


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
