"""Pages of forgetting and of legal holds."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.audit import holds
from apps.audit.models import Hold
from apps.chat import retention
from apps.corpora.models import Corpus, Document
from apps.forgetting import actions
from apps.forgetting.models import ForgetPlan
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Membership, Role
from calm_engine.errors import InputError
from calm_engine.wording import sentence


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def plans(request: MemberRequest) -> HttpResponse:
    """Plans of the corpora that this person may read, and a form for a new one."""
    if request.method == "POST":
        corpus = fetch(request, Corpus, request.POST.get("corpus", ""))
        code = request.POST.get("document", "").strip()
        document = fetch(request, Document, code) if code else None
        if document is not None and document.corpus_id != corpus.pk:
            raise Http404("No such document in this corpus.")
        try:
            made = actions.open_plan(
                corpus, document, by=request.user, reason=request.POST.get("reason", "")
            )
        except InputError as error:
            messages.error(request, sentence(error))
            return redirect("forgetting:plans")
        return redirect(made)
    page = {
        "plans": ForgetPlan.objects.visible_to(request.user).select_related("corpus", "document"),
        "corpora": Corpus.objects.curatable_by(request.user),
        "document": request.GET.get("document", ""),
        "due": retention.due(),
    }
    return render(request, "forgetting/plans.html", page)


@require_safe
@member(Role.CURATOR)
def plan(request: MemberRequest, code: UUID) -> HttpResponse:
    """One plan: what is affected, where it stands, what comes next."""
    row = fetch(request, ForgetPlan, code)
    found = actions.affected(row)
    page = {"plan": row, "found": found, "steps": actions.steps(row, found)}
    return render(request, "forgetting/plan.html", page)


ACTS = {
    "quarantine": actions.quarantine_now,
    "destroy": actions.destroy,
    "certify": actions.certify,
}


@require_POST
@member(Role.CURATOR)
def act(request: MemberRequest, code: UUID) -> HttpResponse:
    """Carry out the next step; whoever may not curate the corpus may not."""
    row = fetch(request, ForgetPlan, code)
    verb = ACTS.get(request.POST.get("verb", ""))
    if verb is None or actions.corpus_of(row.corpus_id, request.user) is None:
        raise Http404("No such step.")
    try:
        verb(row, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
    else:
        messages.success(request, _("Done."))
    return redirect(row)


@require_safe
@member(Role.CURATOR)
def certificate(request: MemberRequest, code: UUID) -> HttpResponse:
    """The signed certificate as a file."""
    row = fetch(request, ForgetPlan, code)
    if not row.certificate:
        raise Http404("No certificate yet.")
    answer = HttpResponse(row.certificate, content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="forgotten-{row.pk}.json"'
    return answer


@require_http_methods(["GET", "POST"])
@member((Role.AUDITOR, Role.CURATOR))
def hold_list(request: MemberRequest) -> HttpResponse:
    """Holds that stand, and a form to place one."""
    if request.method == "POST":
        try:
            placed(request)
        except InputError as error:
            messages.error(request, sentence(error))
        return redirect("forgetting:holds")
    page = {
        "holds": Hold.objects.filter(lifted_at=None).select_related("placed_by"),
        "people": [each.user for each in people_of(request)],
        "corpora": Corpus.objects.readable_by(request.user),
        "today": timezone.localdate(),
    }
    return render(request, "forgetting/holds.html", page)


def people_of(request: MemberRequest) -> list[Membership]:
    return list(Membership.objects.of(request.tenant).select_related("user"))


def placed(request: MemberRequest) -> Hold:
    """Raises InputError; Http404 for what this person may not see."""
    kind, _colon, code = request.POST.get("what", "").partition(":")
    if kind == Hold.Kind.CORPUS:
        subject: Corpus | object = fetch(request, Corpus, code)
    else:
        theirs = next((each for each in people_of(request) if str(each.user_id) == code), None)
        if theirs is None:
            raise Http404("No such person.")
        kind, subject = Hold.Kind.PERSON, theirs.user
    return holds.place(
        kind,
        subject,  # type: ignore[arg-type]  # a row either way
        by=request.user,
        reason=request.POST.get("reason", ""),
        review_on=review_day(request.POST.get("review_on", "")),
    )


def review_day(text: str) -> date:
    """The day that was typed, or in half a year."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return timezone.localdate() + timedelta(days=182)


@require_POST
@member((Role.AUDITOR, Role.CURATOR))
def lift(request: MemberRequest, code: UUID) -> HttpResponse:
    """End a hold."""
    holds.lift(fetch(request, Hold, code), by=request.user)
    messages.success(request, _("The hold is lifted."))
    return redirect("forgetting:holds")
