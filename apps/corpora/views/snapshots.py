"""Pages of questions and snapshots: adding examples, freezing, one snapshot."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import (
    HttpResponse,
)
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.corpora import actions
from apps.corpora.examples import KEYS
from apps.corpora.forms import FreezeForm
from apps.corpora.models import (
    Corpus,
    Right,
    Snapshot,
)
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from calm_engine.errors import InputError
from calm_engine.wording import sentence


@require_POST
@member(Role.CURATOR)
def add_examples(request: MemberRequest, code: UUID) -> HttpResponse:
    """Add a curator's questions and answers, from a file or typed in."""
    row = fetch(request, Corpus, code)
    file = request.FILES.get("file")
    typed = {name: request.POST.get(name, "") for name in KEYS}
    if file is None and not any(typed.values()):
        messages.error(request, _("Choose a CSV, XLSX or JSON lines file, or type a question."))
        return redirect(f"{row.get_absolute_url()}?tab=examples")
    try:
        receipt = actions.add_examples(row, file or [typed], by=request.user)
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
    facts = {
        "corpus": row,
        "form": form,
        "changes": actions.changes(row),
        "readers": actions.readers(row),
    }
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
