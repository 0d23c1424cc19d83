"""Pages of forgetting and of legal holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.audit import approvals, holds
from apps.audit.models import Hold
from apps.chat import retention
from apps.corpora.models import Corpus, Document, Right
from apps.forgetting import actions, leaving, persons, quotes, retraining
from apps.forgetting.lineage import affected, carriers, is_barred, twins
from apps.forgetting.models import ForgetPlan, Mention
from apps.registry.models import Composition
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Membership, Role
from apps.tenants.typed import typed
from calm_engine.errors import InputError
from counterpoint.keyset import Order, page_of
from counterpoint.wording import sentence

MENTIONS = 50  # documents of a page
TWINS = 20  # named on a page
BY_PATH = Order("path", "", ("why", "document__sorting", "pk"))


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def plans(request: MemberRequest) -> HttpResponse:
    """Plans of the corpora that this person may read, and a form for a new one."""
    if request.method == "POST":
        corpus = fetch(request, Corpus, request.POST.get("corpus", ""))
        code = typed(request, "document").strip()
        document = fetch(request, Document, code) if code else None
        if document is not None and document.corpus_id != corpus.pk:
            raise Http404("No such document in this corpus.")
        try:
            made = actions.open_plan(
                corpus, document, by=request.user, reason=typed(request, "reason")
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
        "people": people_of(request),
        "leaving": [leaving.Kind(each) for each in leaving.KINDS],
    }
    return render(request, "forgetting/plans.html", page)


@require_POST
@member(Role.CURATOR)
def leave(request: MemberRequest) -> HttpResponse:
    """Agree, for the tenant, that it is taken out or deleted; a command on the server does it."""
    kind = request.POST.get("kind", "")
    try:
        leaving.ask(kind, request.tenant, by=request.user, reason=typed(request, "leave_reason"))
    except InputError as error:
        messages.error(request, sentence(error))
    else:
        needs_two = approvals.wants_two(kind, request.tenant)
        messages.success(
            request,
            _("Asked. Somebody else grants it under Approvals.")
            if needs_two
            else _("Agreed. Whoever runs the server can do it within seven days."),
        )
    return redirect("forgetting:plans")


@require_safe
@member(Role.CURATOR)
def document(request: MemberRequest, code: UUID) -> HttpResponse:
    """Which models still carry one document, and the way to a plan that forgets it."""
    row = fetch(request, Document, code)
    found = carriers(row)
    seen = Composition.objects.visible_to(request.user).values_list("pk", flat=True)
    names = set(seen.filter(pk__in=[each.pk for each in found.compositions]))
    page = {
        "document": row,
        "found": found,
        "shown": [each for each in found.compositions if each.pk in names],
        "hidden": len(found.compositions) - len(names),
        "live": {each.pk for each in found.live},
        "may_curate": row.corpus.may(request.user, Right.CURATE),
    }
    return render(request, "forgetting/document.html", page)


@require_safe
@member(Role.CURATOR)
def plan(request: MemberRequest, code: UUID) -> HttpResponse:
    """One plan: what is affected, where it stands, what comes next."""
    row = fetch(request, ForgetPlan, code)
    found = affected(row)
    page = {
        "plan": row,
        "found": found,
        "steps": actions.steps(row, found),
        "is_barred": is_barred(row, found),
        "answers_are_kept": quotes.are_kept(),
        "retrainings": retraining.retrainings(row, found),
        "is_whole": not (row.digest or row.person_id),
    }
    if not row.destroyed_at:
        alike = twins(row)
        seen = Document.objects.visible_to(request.user).values("pk")
        page |= {
            "pasted": quotes.pasted(row, found),
            "twins": alike.filter(pk__in=seen).select_related("corpus")[:TWINS],
            "twins_count": alike.count(),
        }
    if row.person_id:
        mentions = row.mentions.select_related("document__corpus")
        shown = mentions.filter(pk__in=Mention.objects.visible_to(request.user).values("pk"))
        page |= {
            "mentions": page_of(shown, request.GET, BY_PATH, size=MENTIONS),
            "elsewhere": mentions.count() - shown.count(),
        }
    return render(request, "forgetting/plan.html", page)


@require_POST
@member(Role.CURATOR)
def person(request: MemberRequest) -> HttpResponse:
    """Open a plan for a person, and propose what may speak of them."""
    code = request.POST.get("person", "")
    chosen = next((each for each in people_of(request) if str(each.user_id) == code), None)
    if chosen is None:
        raise Http404("No such person.")
    try:
        made = persons.open_person_plan(
            chosen.user, by=request.user, reason=typed(request, "person_reason")
        )
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect("forgetting:plans")
    return redirect(made)


@require_POST
@member(Role.CURATOR)
def decide(request: MemberRequest, code: UUID) -> HttpResponse:
    """Say of documents whether they go, or look for the person once more."""
    row = fetch(request, ForgetPlan, code)
    if row.person_id is None:
        raise Http404("This plan is for no person.")
    verdict = request.POST.get("verdict", "")
    try:
        if verdict == "look":
            persons.look(row)
        else:
            persons.decide(row, request.POST.getlist("mention"), verdict, by=request.user)
    except (InputError, ValidationError) as error:
        told = sentence(error) if isinstance(error, InputError) else _("There is no such document.")
        messages.error(request, told)
    return redirect(row)


ACTS: dict[str, Callable[..., object]] = {
    "quarantine": actions.quarantine_now,
    "retrain": retraining.retrain,
    "destroy": actions.destroy,
    "certify": actions.certify,
}


@require_POST
@member(Role.CURATOR)
def act(request: MemberRequest, code: UUID) -> HttpResponse:
    """Carry out the next step; whoever may not curate the corpus may not."""
    row = fetch(request, ForgetPlan, code)
    verb = ACTS.get(request.POST.get("verb", ""))
    if verb is None or not actions.may_act(row, request.user):
        raise Http404("No such step.")
    try:
        verb(row, by=request.user)
    except (InputError, PermissionDenied) as error:
        told = sentence(error) if isinstance(error, InputError) else str(error)
        messages.error(request, told)
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
        reason=typed(request, "reason"),
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
