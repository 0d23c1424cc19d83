"""The review queue: one flagged passage at a time, with the words around it; and the policies."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.corpora import actions
from apps.corpora.forms import PolicyForm
from apps.corpora.models import Corpus, Document, Flag, FlagState, Policy, Right
from apps.corpora.screening import Kind
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from calm_engine.errors import InputError, InternalError
from counterpoint.keyset import Order, page_of
from counterpoint.wording import sentence

AROUND = 300  # characters shown on each side of a passage
SHOWN = 100  # alike passages named on the page
MOST_FIRST = Order("most", "", ("-documents", "key"))
KINDS = {
    Kind.EMAIL: _("an e-mail address"),
    Kind.PHONE: _("a telephone number"),
    Kind.IBAN: _("a bank account"),
    Kind.CARD: _("a payment card"),
    Kind.NATIONAL_ID: _("a number that identifies a person"),
    Kind.PRIVATE_KEY: _("a private key"),
    Kind.ACCESS_KEY: _("an access key"),
    Kind.PASSWORD: _("a password"),
}
DECISIONS: dict[str, Callable[..., int]] = {
    "approve": actions.approve,
    "redact": actions.redact,
    "exclude": actions.leave_out,
}


@require_GET
@member(Role.CURATOR)
def review(request: MemberRequest, code: UUID) -> HttpResponse:
    """The passage to decide, by default the first that is open."""
    corpus = fetch(request, Corpus, code)
    actions.must(corpus, request.user, Right.CURATE)
    kind = request.GET.get("kind", "")
    queue = corpus.flags.filter(state=FlagState.OPEN)
    counts = dict(queue.order_by().values_list("kind").annotate(n=Count("*")))
    queue = queue.filter(kind=kind) if kind in KINDS else queue
    flag = _chosen(request, queue)
    facts: dict[str, Any] = {
        "corpus": corpus,
        "kind": kind,
        "kinds": [(name.value, KINDS[name], counts[name]) for name in Kind if name in counts],
        "undo": _undo(request, corpus),
        "behind": actions.behind(corpus).count(),
        "total": counts.get(kind, 0) if kind in KINDS else sum(counts.values()),
    }
    if flag is not None:
        facts |= _passage(flag) | _place(queue, flag)
    else:
        facts["screened"] = corpus.documents.count()
    return render(request, "corpora/review.html", facts)


def _chosen(request: MemberRequest, queue: QuerySet[Flag]) -> Flag | None:
    ordered = queue.select_related("document", "corpus").order_by("document_id", "start", "pk")
    code = _uuid(request, "flag")
    wanted = ordered.filter(pk=code).first() if code else None
    return wanted or ordered.first()


def _undo(request: MemberRequest, corpus: Corpus) -> Flag | None:
    """The passage that was just decided, while the decision stands."""
    decided = corpus.flags.exclude(state=FlagState.OPEN)
    code = _uuid(request, "undo")
    found: Flag | None = decided.filter(pk=code).first() if code else None
    return found


def _uuid(request: MemberRequest, name: str) -> UUID | None:
    try:
        return UUID(request.GET.get(name, ""))
    except ValueError:
        return None


def _passage(flag: Flag) -> dict[str, Any]:
    """The words themselves, from storage: the database holds only their place."""
    try:
        text = actions.text_of(flag.document)
    except InternalError:
        text = ""
    same = actions.alike(flag)
    return {
        "flag": flag,
        "what": KINDS[Kind(flag.kind)],
        "before": text[max(0, flag.start - AROUND) : flag.start],
        "words": text[flag.start : flag.end],
        "after": text[flag.end : flag.end + AROUND],
        "leaf": page_at(flag.document, flag.start),
        "alike": same[:SHOWN] if len(same) > 1 else [],
        "alike_count": len(same),
        "blocked": flag.corpus.policy_for(Kind(flag.kind)) == Policy.BLOCK,
    }


def page_at(document: Document, at: int) -> int:
    """The page on which a character of the text stands, from 1."""
    starts: list[int] = document.pages
    return max(1, bisect_right(starts, at))


def _place(queue: QuerySet[Flag], flag: Flag) -> dict[str, Any]:
    """Where in the queue this passage stands, and its neighbours."""
    here = (flag.document_id, flag.start)
    earlier = Q(document_id__lt=here[0]) | Q(document_id=here[0], start__lt=here[1])
    later = Q(document_id__gt=here[0]) | Q(document_id=here[0], start__gt=here[1])
    return {
        "position": queue.filter(earlier).count() + 1,
        "previous": queue.filter(earlier).order_by("-document_id", "-start").first(),
        "next": queue.filter(later).order_by("document_id", "start").first(),
    }


@require_POST
@member(Role.CURATOR)
def decide(request: MemberRequest, code: UUID) -> HttpResponse:
    """Decide one passage, or all with the same words, or take a decision back."""
    flag = fetch(request, Flag, code)
    back = reverse("corpora:review", kwargs={"code": flag.corpus_id})
    decision = request.POST.get("decision", "")
    if decision == "undo":
        actions.reopen(flag, by=request.user)
        return redirect(f"{back}?flag={flag.pk}")
    if decision not in DECISIONS:
        messages.error(request, _("Choose what becomes of the passage."))
        return redirect(f"{back}?flag={flag.pk}")
    try:
        count = DECISIONS[decision](flag, by=request.user, alike="alike" in request.POST)
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect(f"{back}?flag={flag.pk}")
    if count == 0:
        flag.refresh_from_db()
        who = flag.decided_by.name if flag.decided_by else ""
        said = {"who": who, "what": flag.get_state_display()}
        messages.warning(request, _("%(who)s was first: %(what)s.") % said)
    else:
        words = ngettext("%(n)d passage decided.", "%(n)d passages decided.", count)
        messages.success(request, words % {"n": count})
    kind = request.POST.get("kind", "")
    return redirect(f"{back}?undo={flag.pk}" + (f"&kind={kind}" if kind in set(Kind) else ""))


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def policies(request: MemberRequest, code: UUID) -> HttpResponse:
    """What this corpus does with personal data and secrets."""
    corpus = fetch(request, Corpus, code)
    actions.must(corpus, request.user, Right.CURATE)
    now = {name: getattr(corpus, f"{name}_policy") for name in PolicyForm.base_fields}
    form = PolicyForm(request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        actions.set_policies(corpus, form.cleaned_data, by=request.user)
        messages.success(request, _("Every document is looked at again under the new policies."))
        return redirect("corpora:review", code=corpus.pk)
    return render(request, "corpora/policies.html", {"corpus": corpus, "form": form})


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def repeats(request: MemberRequest, code: UUID) -> HttpResponse:
    """Paragraphs that many documents share: keep them out of what models learn, or take them in."""
    corpus = fetch(request, Corpus, code)
    actions.must(corpus, request.user, Right.CURATE)
    if request.method == "POST":
        act, keys = request.POST.get("act", ""), _keys(request)
        if act == "look":
            actions.ask_for_repeats(corpus, by=request.user)
            messages.success(request, _("A worker looks through the texts; come back in a while."))
        elif act in ("out", "in"):
            moved = actions.decide_repeats(corpus, keys, left_out=act == "out", by=request.user)
            words = ngettext("%(n)d paragraph changed.", "%(n)d paragraphs changed.", moved)
            messages.success(request, words % {"n": moved})
        return redirect("corpora:repeats", code=corpus.pk)
    shown = page_of(corpus.repeats.all(), request.GET, MOST_FIRST, size=SHOWN)
    behind = actions.behind(corpus).count()
    facts = {"corpus": corpus, "page": shown, "behind": behind}
    return render(request, "corpora/repeats.html", facts)


def _keys(request: MemberRequest) -> list[UUID]:
    found = []
    for each in request.POST.getlist("paragraph"):
        with suppress(ValueError):
            found.append(UUID(each))
    return found


@require_POST
@member(Role.CURATOR)
def keep_apart(request: MemberRequest, code: UUID) -> HttpResponse:
    """Say that a document is no copy of the one that it was called a copy of."""
    row = fetch(request, Document, code)
    actions.keep_apart(row, by=request.user)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def fold_in(request: MemberRequest, code: UUID) -> HttpResponse:
    """Compare a document with the others once more."""
    row = fetch(request, Document, code)
    if not actions.fold_in(row, by=request.user):
        messages.info(request, _("No other document is nearly the same."))
    return redirect(row)
