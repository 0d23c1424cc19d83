"""Pages of the chat. Sending is a POST that names the reply; reading it is a GET of its own.

Everything works without script: the POST leads to the conversation, which shows what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.http import Http404, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.audit.models import Approval
from apps.chat import actions, breakglass, drafts, history, picker, relay, sharing
from apps.chat.context import context_of
from apps.chat.keeping_views import at as address_at
from apps.chat.models import Conversation, Message, Reason, Role, State
from apps.chat.relay import note_of
from apps.chat.stream import reply_events
from apps.chat.tree import Spot, way
from apps.corpora.models import Passage
from apps.registry.models import Composition
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role as TenantRole
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.live import sse_response
from counterpoint.wording import sentence

if TYPE_CHECKING:
    from apps.accounts.models import User

STATUS = {"reply.active": 409, "reply.too_many": 429, "quota.used": 429, "model.not_usable": 403}


# ---- pages ---------------------------------------------------------------------------------------


@require_safe
@member()
def new(request: MemberRequest) -> HttpResponse:
    """Begin a conversation, or find an old one."""
    return page(request)


@require_safe
@member()
def conversation(request: MemberRequest, code: UUID) -> HttpResponse:
    """One conversation; an answer under way is found again by every tab that opens it."""
    return page(request, fetch(request, Conversation, code))


def page(
    request: MemberRequest,
    here: Conversation | None = None,
    *,
    draft: str = "",
    refusal: InputError | None = None,
) -> HttpResponse:
    """The conversation, or the empty page, beside the history; a refused draft keeps its field."""
    user = request.user
    wanted = request.GET.get("model", "")
    offered = picker.offer(user, request.tenant, wanted=wanted, here=here.model if here else "")
    current = offered["current"]
    context = {
        "here": here,
        **offered,
        "starters": picker.starters(user, current) if current and not here else [],
        "learned": picker.learned(current) if current and not here else [],
        "draft": draft or drafts.kept(here, user),
        "refusal": sentence(refusal) if refusal else "",
        **history.facts(request.GET, user),
    }
    if here is not None:
        context |= shown(here, user, address_at(request)) | {"readings": breakglass.readings(here)}
        context |= {"shares": sharing.of_mine(user).filter(conversation=here)}
    status = STATUS.get(refusal.code, 400) if refusal else 200
    template = "chat/conversation.html" if here else "chat/index.html"
    return render(request, template, context, status=status)


@dataclass(frozen=True)
class Line:
    """One message as the page shows it.

    note      what stands under an answer that is under way, stopped or failed
    is_moved  it came from another version than the answer before it
    is_unwell the last answer did not come to its end: asking again is the next step
    read      the passages that stood before its question, as far as they are still there
    """

    spot: Spot
    note: str
    is_moved: bool = False
    is_unwell: bool = False
    read: Sequence[Passage] = ()

    @property
    def message(self) -> Message:
        return self.spot.message


def shown(here: Conversation, user: User, at: UUID | None) -> dict[str, Any]:
    """The messages of one way through a conversation, or why they may not be read now."""
    their = Composition.objects.usable_by(user).filter(pk=OuterRef("composition"))
    rows: Any = here.messages.annotate(is_shut=Q(role=Role.ASSISTANT) & ~Exists(their))
    said = list(rows.select_related("composition").order_by("position"))
    if any(message.is_shut for message in said):
        return {"is_locked": True, "reason": history.lock_reasons([here], user)[here.pk]}
    spots = way(said, at)
    passages = (
        Passage.objects.select_related("document")
        .defer("words", "body")
        .in_bulk({each for spot in spots for each in spot.message.passages})
    )
    lines, before = [], None
    for spot in spots:
        message = spot.message
        made_by = message.composition_id
        is_moved = bool(before and made_by and before != made_by)
        read = [passages[each] for each in message.passages if each in passages]
        lines.append(Line(spot, note(message), is_moved, read=read))
        before = made_by or before
    if lines and lines[-1].message.state in (State.FAILED, State.STOPPED):
        lines[-1] = replace(lines[-1], is_unwell=True)
    return {
        "lines": lines,
        "active": next((message for message in said if message.is_active), None),
        "last": lines[-1].message if lines else None,
        "context": context_of([line.message for line in lines]),
        "reasons": Reason.choices,
    }


def note(message: Message) -> str:
    if message.is_active:
        return _("Waiting for its turn") if message.state == State.WAITING else _("Writing")
    return message.failure_text or note_of(message.state, message.text)


# ---- acts ----------------------------------------------------------------------------------------


@require_POST
@member()
def ask(request: MemberRequest) -> HttpResponse:
    """Write a question and begin its reply: JSON for the page's script, else the conversation."""
    text = request.POST.get("text", "") or request.POST.get("starter", "")
    here = given_conversation(request)
    try:
        # A refusal undoes the whole question, a conversation begun for it too.
        with transaction.atomic():
            here_now = here or actions.open_conversation(
                request.POST.get("model", ""),
                by=request.user,
                is_temporary=bool(request.POST.get("temporary")),
            )
            here_now.model = request.POST.get("model") or here_now.model
            here_now.looks_up = bool(request.POST.get("look_up"))
            reply = actions.ask(here_now, text, by=request.user, after=given_answer(request, here))
            drafts.drop(here, by=request.user)
    except InputError as error:
        return refused(request, error, here, draft=text)
    return begun(request, reply)


def given_conversation(request: MemberRequest) -> Conversation | None:
    code = request.POST.get("conversation", "")
    return fetch(request, Conversation, code) if code else None


def given_answer(request: MemberRequest, here: Conversation | None) -> Message | None:
    """The answer under which the question was written: another way may be newer."""
    code = request.POST.get("after", "")
    if here is None or not code:
        return None
    answer = fetch(request, Message, code)
    return answer if answer.conversation_id == here.pk and answer.role == Role.ASSISTANT else None


def refused(
    request: MemberRequest, error: InputError, here: Conversation | None, *, draft: str = ""
) -> HttpResponse:
    """What is wrong and what to do; nothing that was written is lost."""
    if not wants_json(request):
        return page(request, here, draft=draft, refusal=error)
    told = {"error": sentence(error), "code": error.code}
    return JsonResponse(told, status=STATUS.get(error.code, 400))


def begun(request: MemberRequest, reply: Message) -> HttpResponse:
    """Start the relay once the question is committed, and say where to watch."""
    transaction.on_commit(partial(relay.start, request.tenant.pk, reply.pk))
    here = reply.conversation
    if not wants_json(request):
        return redirect(here)
    return JsonResponse(
        {
            "conversation": str(here.pk),
            "question": str(reply.parent_id),
            "message": str(reply.pk),
            "model": str(reply.composition),
            "url": here.get_absolute_url(),
            "stream": reverse("chat:events", kwargs={"code": reply.pk}),
            "stop": reverse("chat:stop", kwargs={"code": reply.pk}),
        }
    )


@require_POST
@member()
def again(request: MemberRequest, code: UUID) -> HttpResponse:
    """Ask the same question once more."""
    return once_more(request, fetch(request, Message, code), actions.ask_again)


@require_POST
@member()
def anchor(request: MemberRequest, code: UUID) -> HttpResponse:
    """Ask the anchor the same, without the private model; the page of both shows it."""
    answer = once_more(request, fetch(request, Message, code), actions.ask_anchor)
    is_begun = answer.status_code == 302 and not wants_json(request)
    return redirect("chat:beside", code=code) if is_begun else answer


@require_POST
@member()
def edit(request: MemberRequest, code: UUID) -> HttpResponse:
    """Ask something else in this question's place; what followed stays, as another way."""
    question, text = fetch(request, Message, code), request.POST.get("text", "")
    if question.role != Role.USER:
        return redirect(question.conversation)
    try:
        reply = actions.edit(question, text, by=request.user)
    except InputError as error:
        return refused(request, error, question.conversation, draft=text)
    return begun(request, reply)


def once_more(request: MemberRequest, reply: Message, verb: Callable[..., Message]) -> HttpResponse:
    if reply.role != Role.ASSISTANT:
        return redirect(reply.conversation)
    try:
        another = verb(reply, by=request.user)
    except InputError as error:
        return refused(request, error, reply.conversation)
    return begun(request, another)


@require_POST
@member()
def stop(request: MemberRequest, code: UUID) -> HttpResponse:
    """End a reply; the page hears of it on the reply's own stream."""
    reply = fetch(request, Message, code)
    actions.stop(reply, by=request.user)
    if wants_json(request):
        return JsonResponse({"asked": True}, status=202)
    return redirect(reply.conversation)


@require_POST
@member()
def rename(request: MemberRequest, code: UUID) -> HttpResponse:
    here = fetch(request, Conversation, code)
    try:
        actions.rename(here, request.POST.get("title", ""))
    except InputError as error:
        messages.error(request, sentence(error))
    return redirect(here)


@require_POST
@member()
def delete(request: MemberRequest, code: UUID) -> HttpResponse:
    here = fetch(request, Conversation, code)
    try:
        actions.delete(here, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect(here)
    messages.success(request, _("The conversation was deleted."))
    return redirect("chat:new")


@require_safe
@member()
async def events(request: MemberRequest, code: UUID) -> HttpResponseBase:
    """The reply as server-sent events, from the beginning or from `Last-Event-ID`."""
    tenant_id = request.tenant.pk
    await sync_to_async(seen)(request, code)
    after = request.headers.get("Last-Event-ID", "")
    return sse_response(reply_events(tenant_id, code, after=after))


def seen(request: MemberRequest, code: UUID) -> Message:
    """The message, or 404, in a short transaction of its own."""
    with tenant_scope(request.tenant):
        return fetch(request, Message, code)


@require_http_methods(["GET", "POST"])
@member((TenantRole.AUDITOR, TenantRole.CURATOR))
def break_glass(request: MemberRequest) -> HttpResponse:
    """Ask to read somebody's conversation; below it, one's own wishes and what became of them."""
    if request.method == "POST":
        try:
            breakglass.ask(
                request.POST.get("code", ""), by=request.user, reason=request.POST.get("reason", "")
            )
        except InputError as error:
            messages.error(request, sentence(error))
        else:
            messages.success(request, _("Asked. Somebody else decides, under Approvals."))
        return redirect("chat:break_glass")
    mine = Approval.objects.filter(kind=breakglass.KIND, asked_by=request.user)
    return render(request, "chat/break_glass.html", {"wishes": mine[:50], "now": timezone.now()})


@require_safe
@member((TenantRole.AUDITOR, TenantRole.CURATOR))
def opened(request: MemberRequest, code: UUID) -> HttpResponse:
    """The conversation of a granted wish, for whoever asked and nobody else."""
    wish = fetch(request, Approval, code)
    if wish.kind != breakglass.KIND or wish.asked_by_id != request.user.pk:
        raise Http404("No such wish.")
    try:
        lines = breakglass.read(wish, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect("chat:break_glass")
    return render(request, "chat/opened.html", {"wish": wish, "lines": lines})


def wants_json(request: MemberRequest) -> bool:
    return "application/json" in request.headers.get("Accept", "")
