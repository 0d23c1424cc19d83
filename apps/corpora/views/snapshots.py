"""Pages of questions and snapshots: adding examples, freezing, one snapshot."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.corpora import actions, manifests
from apps.corpora.examples import KEYS
from apps.corpora.forms import FreezeForm
from apps.corpora.models import (
    Corpus,
    Freezing,
    Right,
    Snapshot,
)
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from apps.tenants.typed import typed
from calm_engine.errors import InputError, InternalError
from calm_engine.selfstudy import tasks
from counterpoint.sending import SentInPieces
from counterpoint.storage import blobs
from counterpoint.wording import sentence

NAMED = 200  # documents of a snapshot named on its page
OFFERED = 200  # other corpora offered to be frozen with one
LEFT_OUT = {
    tasks.SEVERAL: gettext_lazy("the documents state several values"),
    tasks.LONG: gettext_lazy("the value is longer than an answer"),
    tasks.NAMELESS: gettext_lazy("what has it bears no name"),
}
PARQUET = "application/vnd.apache.parquet"


@require_POST
@member(Role.CURATOR)
def add_examples(request: MemberRequest, code: UUID) -> HttpResponse:
    """Add a curator's questions and answers, from a file or typed in."""
    row = fetch(request, Corpus, code)
    file = request.FILES.get("file")
    written = {name: typed(request, name) for name in KEYS}
    if file is None and not any(written.values()):
        messages.error(request, _("Choose a CSV, XLSX or JSON lines file, or type a question."))
        return redirect(f"{row.get_absolute_url()}?tab=examples")
    try:
        receipt = actions.add_examples(row, file or [written], by=request.user)
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


@require_POST
@member(Role.CURATOR)
def write_examples(request: MemberRequest, code: UUID) -> HttpResponse:
    """Have questions and answers written from the facts that the documents state."""
    row = fetch(request, Corpus, code)
    back = redirect(f"{row.get_absolute_url()}?tab=examples")
    try:
        told = actions.write_examples(row, refusals="refusals" in request.POST, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
        return back
    facts = {"added": told.receipt.added, "twice": told.receipt.duplicates}
    facts |= {"read": told.read, "of": told.of}
    said = _("%(added)d written from %(read)d of %(of)d documents, %(twice)d known already.")
    messages.success(request, said % facts)
    for reason, count in told.dropped.items():
        why = {"count": count, "why": LEFT_OUT.get(reason, reason)}
        messages.warning(request, _("%(count)d facts were left out: %(why)s.") % why)
    return back


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def freeze(request: MemberRequest, code: UUID) -> HttpResponse:
    """Show what the next snapshot would change and who may use what learns it; order it."""
    row = fetch(request, Corpus, code)
    actions.must(row, request.user, Right.CURATE)
    others = Corpus.objects.curatable_by(request.user).exclude(pk=row.pk)
    further = _chosen(request, others)
    up_to = actions.LOOKED if request.GET.get("compare") else actions.AT_ONCE
    form = FreezeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        note = form.cleaned_data["note"]
        try:
            return redirect(actions.order_freeze(row, *further, note=note, by=request.user))
        except InputError as error:
            form.add_error(None, sentence(error))
    facts = {
        "corpus": row,
        "further": further,
        "others": others[:OFFERED],
        "form": form,
        "changes": actions.changes(row, *further, up_to=up_to),
        "readers": actions.readers(row, *further),
    }
    return render(request, "corpora/freeze.html", facts)


def _chosen(request: MemberRequest, others: Any) -> list[Corpus]:
    sent = request.POST if request.method == "POST" else request.GET
    return list(others.filter(pk__in=_uuids(sent.getlist("with"))))


def _uuids(sent: list[str]) -> list[UUID]:
    found = []
    for each in sent:
        with suppress(ValueError):
            found.append(UUID(each))
    return found


@require_GET
@member(Role.CURATOR)
def freezing(request: MemberRequest, code: UUID) -> HttpResponse:
    """An order to freeze: how far it is; its snapshot once there is one."""
    row = fetch(request, Freezing, code)
    if row.snapshot is None:
        return render(request, "corpora/freezing.html", {"order": row})
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": row.snapshot.get_absolute_url()})
    return redirect(row.snapshot)


@require_GET
@member()
def snapshot(request: MemberRequest, code: UUID) -> HttpResponse:
    """One snapshot: what it holds, what is held out, what came of it."""
    row = fetch(request, Snapshot, code)
    others = Corpus.objects.filter(pk__in=row.further).order_by("name")
    slices = [where for _digest, where in row.manifest["examples"]]
    named = {
        "bridge": _("for the bridges"),
        "unseen_entity": _("held out: unseen entity"),
        "unseen_value": _("held out: unseen value"),
        "unseen_skill": _("held out: unseen task"),
    }
    facts: dict[str, Any] = {
        "snapshot": row,
        "slices": [(label, slices.count(name)) for name, label in named.items()],
        "corpora": [row.corpus, *others],
        "counts": [count for count in row.token_counts.all() if count.is_whole],
        "readers": actions.readers(row.corpus, *others),
        "may_curate": Snapshot.objects.curatable_by(request.user).filter(pk=row.pk).exists(),
    }
    try:
        facts["titles"] = [entry.title for entry in islice(manifests.entries(row), NAMED)]
    except InternalError:
        facts["lost"] = True
    return render(request, "corpora/snapshot.html", facts)


@require_GET
@member()
def manifest(request: MemberRequest, code: UUID) -> HttpResponse | SentInPieces:
    """The list of a snapshot's documents as a Parquet file: digests and names."""
    row = fetch(request, Snapshot, code)
    try:
        return SentInPieces(_listed(row), f"snapshot-{row.short}.parquet", PARQUET)
    except InternalError as error:
        raise Http404("The list of this snapshot is gone from storage.") from error


def _listed(row: Snapshot) -> BinaryIO:
    """The file as it was frozen, or made now for a snapshot of an older release."""
    if row.listed:
        return blobs().open(manifests.KIND, row.listed)
    with tempfile.TemporaryDirectory(prefix="manifest-") as folder:
        file = Path(folder) / "manifest"
        manifests.write(manifests.entries(row), file)
        return file.open("rb")
