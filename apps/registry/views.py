"""Pages of models: the list, a composition, its parents. Knows no run and no report but by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Max, Prefetch, QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.audit import approvals
from apps.audit.models import Approval
from apps.corpora.models import Corpus
from apps.registry import actions, artifacts, closure, learned
from apps.registry import export as exporting
from apps.registry.models import (
    Alias,
    AliasChange,
    Anchor,
    Augmenter,
    Composition,
    Embedder,
    Placement,
)
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from apps.tenants.typed import sought
from calm_engine.errors import InputError
from counterpoint.keyset import Order, Page, chosen, page_among
from counterpoint.wording import sentence

if TYPE_CHECKING:
    pass

A_PAGE = 10  # names of models
PEOPLE = 30  # of those who may use a model, or may not
SERVING = {"ready": "ok", "starting": "busy", "stopping": "busy", "failed": "bad"}
SERVING |= {"resting": "paused", "asleep": "off"}


@dataclass(frozen=True)
class Row:
    """One version in the list: a composition or an augmenter, and what is told beside it."""

    model: Composition | Augmenter
    kind: str
    corpora: list[str]
    audience: int

    @property
    def is_composition(self) -> bool:
        return isinstance(self.model, Composition)


@dataclass
class Family:
    """All versions of one name, newest first."""

    name: str
    rows: list[Row] = field(default_factory=list)


@require_GET
@member()
def models(request: MemberRequest) -> HttpResponse:
    """The models that this person may read, by name, each version a row; then the anchors."""
    wanted = sought(request)
    page = names_of(request, wanted)
    facts = {"page": page, "wanted": wanted, "families": families(request, page.rows)}
    open_models = {"anchors": Anchor.objects.all(), "embedders": Embedder.objects.all()}
    return render(request, "registry/models.html", facts | open_models)


def names_of(request: MemberRequest, wanted: str) -> Page[str]:
    """A page of the names of all visible models that hold these letters."""
    named = {"name__icontains": wanted}
    compositions, augmenters = (
        kind.objects.visible_to(request.user).filter(**named).order_by().values_list("name")
        for kind in (Composition, Augmenter)
    )
    newest = Max("created_at")
    made: dict[str, float] = {}
    for name, at in compositions.annotate(newest).union(augmenters.annotate(newest), all=True):
        made[name] = max(made.get(name, 0.0), at.timestamp())
    orders = Order("name", _("name"), ()), Order("new", _("newest version"), ())
    keys: dict[str, Callable[[str], tuple[Any, ...]]] = {
        "name": lambda name: (name.casefold(), name),
        "new": lambda name: (-made[name], name),
    }
    order = chosen(orders, request.GET)
    key = keys[order.name]
    page = page_among(sorted(made, key=key), request.GET, key, size=A_PAGE)
    page.order, page.orders = order, orders
    return page


def families(request: MemberRequest, shown: Sequence[str]) -> list[Family]:
    """The visible versions of these names, grouped. What is not visible leaves no trace."""
    compositions = (
        Composition.objects.visible_to(request.user)
        .filter(name__in=shown)
        .select_related("snapshot")
        .defer("snapshot__manifest", "snapshot__changes")
        # Into lists of their own: managers would be made for each row, and cost more than the rows.
        .prefetch_related(Prefetch("aliases", to_attr="names"))
        .prefetch_related(Prefetch("reports", verdicts(), to_attr="cards"))
    )
    augmenters = (
        Augmenter.objects.visible_to(request.user)
        .filter(name__in=shown)
        .annotate(frozen=ArrayAgg("snapshots__created_at", order_by="snapshots__created_at"))
    )
    names = dict(Corpus.objects.values_list("id", "name"))
    audience = closure.audiences()
    found: dict[str, Family] = {}
    for kind, rows in ((_("Composition"), compositions), (_("Augmenter"), augmenters)):
        for model in rows:
            family = found.setdefault(model.name, Family(model.name))
            chips = [names[each] for each in model.closure if each in names]
            family.rows.append(Row(model, kind, chips, audience(model.closure)))
    return [found[name] for name in shown if name in found]


def verdicts() -> QuerySet[Any]:
    """Report cards by their verdict alone: what they measured is long, and a list shows none."""
    report: Any = Composition._meta.get_field("reports").related_model
    found: QuerySet[Any] = report.objects.only("tenant", "composition", "verdict", "created_at")
    return found


@require_GET
@member()
def composition(request: MemberRequest, code: UUID) -> HttpResponse:
    """One version: what it is made of, who may use it, where it runs, what was done with it."""
    row = fetch(request, Composition, code, related=("snapshot__corpus", "anchor"))
    roads = closure.roads(request.user, row)
    corpora = [road.corpus for road in roads]
    who = sought(request, "who")
    audience = closure.audience(row, corpora, who, PEOPLE)
    parts, aliases = row.parts(), list(row.aliases.all())
    changes = aliases_of(row)
    live = next((alias for alias in aliases if alias.name == Alias.LIVE), None)
    facts = {
        "model": row,
        "aliases": aliases,
        "changes": changes,
        "parts": parts,
        "lineage": lineage(row, parts),
        "corpora": corpora,
        "who": who,
        "audience": audience,
        "grounds": closure.grounds(request.user, row, roads),
        "not_exportable": closure.barring_export(row, roads),
        "placements": placements(row),
        "files": artifacts.files(row),
        "reports": list(row.reports.all()),
        "is_curator": request.membership.may(Role.CURATOR),
        "live": live,
        "previous": actions.previous_live(changes) if live else None,
    }
    return render(request, "registry/composition.html", facts)


def aliases_of(row: Composition) -> list[AliasChange]:
    """Every move of this model's aliases, newest first: history belongs to the name."""
    moves = AliasChange.objects.filter(model=row.name).select_related("before", "after", "by")
    return list(moves[:50])


@dataclass(frozen=True)
class Place:
    """One placement as it looks now: a ready one that has been silent is not called ready."""

    row: Placement
    look: str
    is_silent: bool


def placements(row: Composition) -> list[Place]:
    """Where it is served, or about to be."""
    found, rows = [], cast("Any", row.placements.select_related("host").with_freshness())
    for each in rows:
        is_silent = each.state == Placement.State.READY and not each.is_fresh
        found.append(Place(each, "warn" if is_silent else SERVING[each.state], is_silent))
    return found


def lineage(row: Composition, parts: Sequence[Augmenter]) -> list[dict[str, str]]:
    """From documents to composition, and the anchor that joins it, as steps of a strip."""
    count = row.snapshot.documents
    steps = [
        (_("%(count)s documents") % {"count": count}, row.snapshot.names, ""),
        (_("Snapshot"), row.snapshot.short, row.snapshot.get_absolute_url()),
    ]
    steps += [(str(part), part.digest[:12], part.get_absolute_url()) for part in parts]
    steps.append((str(row), row.digest[:12], ""))
    steps.append((str(row.anchor), row.anchor.digest[:12], row.anchor.get_absolute_url()))
    return [{"name": name, "state": "done", "word": word, "href": to} for name, word, to in steps]


@require_GET
@member()
def anchor(request: MemberRequest, code: UUID) -> HttpResponse:
    """An open model that was brought in: licence, source, files, and what stands on it."""
    row = fetch(request, Anchor, code)
    facts = {
        "model": row,
        "files": artifacts.files(row),
        "compositions": Composition.objects.visible_to(request.user).filter(anchor=row),
    }
    return render(request, "registry/anchor.html", facts)


@require_GET
@member()
def augmenter(request: MemberRequest, code: UUID) -> HttpResponse:
    """A small private model: what it learned, its numbers, and where it is used."""
    row = fetch(request, Augmenter, code)
    roads = closure.roads(request.user, row)
    facts = {
        "model": row,
        "metrics": [each for each in row.metrics.items() if each[0] not in learned.NAMES],
        "general": row.facts.get("general"),
        "updated": learned.update_of(row.metrics, row.facts),
        "forgotten": learned.forgetting_of(row.metrics, row.facts),
        "snapshots": row.snapshots.select_related("corpus"),
        "corpora": [road.corpus for road in roads],
        "files": artifacts.files(row),
        "compositions": Composition.objects.visible_to(request.user).filter(augmenters=row),
        "is_curator": request.membership.may(Role.CURATOR),
        "not_exportable": closure.barring_export(row, roads),
    }
    return render(request, "registry/augmenter.html", facts)


@require_POST
@member(Role.CURATOR)
def roll_back(request: MemberRequest, code: UUID) -> HttpResponse:
    """Move `live` of this model back to what it named before."""
    row = fetch(request, Composition, code)
    try:
        change = actions.roll_back(row.name, by=request.user, reason=request.POST.get("reason", ""))
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect(row)
    if change is None:
        return redirect(row)
    messages.success(request, _("%(model)s is live again.") % {"model": change.after})
    return redirect(change.after)


@require_POST
@member(Role.CURATOR)
def keep_warm(request: MemberRequest, code: UUID) -> HttpResponse:
    """Whether this model may be put to sleep when its host has no room for another."""
    row = fetch(request, Composition, code)
    kept = request.POST.get("kept") == "on"
    try:
        actions.keep_warm(row, kept=kept, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect(row)
    said = _("%(model)s is kept warm.") if kept else _("%(model)s may sleep when nobody asks it.")
    messages.success(request, said % {"model": row})
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def quarantine(request: MemberRequest, code: UUID) -> HttpResponse:
    """Bar this version from every use, once its name was typed."""
    row = fetch(request, Composition, code)
    try:
        named(request, row)
        actions.quarantine(row, by=request.user, reason=request.POST.get("reason", ""))
    except InputError as error:
        messages.error(request, sentence(error))
    else:
        messages.success(request, _("%(model)s can no longer be used.") % {"model": row})
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def lift(request: MemberRequest, code: UUID) -> HttpResponse:
    """Let a barred version be used again, once its name was typed."""
    row = fetch(request, Composition, code)
    try:
        named(request, row)
        actions.lift_quarantine(row, by=request.user, reason=request.POST.get("reason", ""))
    except InputError as error:
        if error.code == "approval.needed":
            return asked_for_a_second(request, row)
        messages.error(request, sentence(error))
    else:
        messages.success(request, _("%(model)s can be used again.") % {"model": row})
    return redirect(row)


@require_POST
@member()
def export(request: MemberRequest, code: UUID) -> HttpResponse | StreamingHttpResponse:
    """The weights of a composition and of its augmenters, as one tar file."""
    return exported(request, fetch(request, Composition, code))


@require_POST
@member()
def export_augmenter(request: MemberRequest, code: UUID) -> HttpResponse | StreamingHttpResponse:
    """The weights of an augmenter, as one tar file."""
    return exported(request, fetch(request, Augmenter, code))


def exported(
    request: MemberRequest, row: Composition | Augmenter
) -> HttpResponse | StreamingHttpResponse:
    """The file, or back to the model's page with the reason why not."""
    reason = request.POST.get("reason", "")
    try:
        pieces = exporting.begin(row, by=request.user, reason=reason)
    except InputError as error:
        if error.code == "approval.needed":
            approvals.ask(Approval.Kind.EXPORT, row, by=request.user, reason=reason)
            said = _("Asked. Somebody else grants it under Approvals; then take the weights here.")
            messages.success(request, said)
        else:
            messages.error(request, sentence(error))
        return redirect(row)
    name = f"{slugify(row.name) or 'model'}-v{row.version}.tar"
    return StreamingHttpResponse(
        pieces,
        content_type="application/x-tar",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        },
    )


def named(request: MemberRequest, row: Composition) -> None:
    """Raises InputError("name.typed") unless the version's name was typed, as it is written."""
    if request.POST.get("name", "").strip() != str(row):
        raise InputError("name.typed", name=str(row))


def asked_for_a_second(request: MemberRequest, row: Composition) -> HttpResponse:
    """Where two are needed to lift a quarantine, the first click asks."""
    approvals.ask(Approval.Kind.LIFT, row, by=request.user, reason=request.POST.get("reason", ""))
    said = _("Asked. Somebody else grants it under Approvals; then lift the quarantine here.")
    messages.success(request, said)
    return redirect(row)
