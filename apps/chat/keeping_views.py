"""Pages and forms for what is kept: pin, file, rate, fork, write out, and both voices together."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apps.chat import keeping, usage
from apps.chat.evidence import evidence_for
from apps.chat.influence import weighed
from apps.chat.models import Conversation, Message, Role
from apps.chat.tree import way
from apps.registry import hosts
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role as TenantRole
from calm_engine.errors import EngineError, InputError
from counterpoint.wording import sentence


@require_POST
@member()
def pin(request: MemberRequest, code: UUID) -> HttpResponse:
    here = fetch(request, Conversation, code)
    keeping.pin(here)
    return redirect(here)


@require_POST
@member()
def file_under(request: MemberRequest, code: UUID) -> HttpResponse:
    here = fetch(request, Conversation, code)
    keeping.file_under(here, request.POST.get("folder", ""))
    return redirect(here)


@require_POST
@member()
def rate(request: MemberRequest, code: UUID) -> HttpResponse:
    """Thumbs, with a reason when it was no help; as closed as the answer itself."""
    answer = readable(request, code)
    told = request.POST.get("rating", "")
    try:
        keeping.rate(
            answer,
            int(told) if told in ("-1", "0", "1") else 9,
            reason=request.POST.get("reason", ""),
            text=request.POST.get("text", ""),
        )
    except InputError as error:
        messages.error(request, sentence(error))
    return redirect(f"{answer.conversation.get_absolute_url()}?at={answer.pk}#m-{answer.pk}")


@require_POST
@member()
def fork(request: MemberRequest, code: UUID) -> HttpResponse:
    answer = readable(request, code)
    try:
        new = keeping.fork(answer, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect(answer.conversation)
    messages.success(request, _("This is a copy up to that answer. Go on from here."))
    return redirect(new)


@require_safe
@member()
def export(request: MemberRequest, code: UUID) -> HttpResponse:
    """The way that is shown, as a Markdown file."""
    here = fetch(request, Conversation, code)
    require_open(here, request)
    said = list(here.messages.select_related("composition").order_by("position"))
    shown = [spot.message for spot in way(said, at(request))]
    answer = HttpResponse(
        keeping.written_out(here.title, shown), content_type="text/markdown; charset=utf-8"
    )
    name = slugify(here.title)[:40] or "conversation"
    answer["Content-Disposition"] = f'attachment; filename="{name}.md"'
    return answer


@require_safe
@member()
def evidence(request: MemberRequest, code: UUID) -> HttpResponse:
    """What made this answer, and which of its words stand in documents that one may read."""
    answer = readable(request, code)
    facts: dict[str, Any] = {"answer": answer, "here": answer.conversation}
    try:
        facts |= {"found": evidence_for(answer, request.user)}
    except InputError as error:
        facts |= {"refusal": sentence(error)}
    return render(request, "chat/evidence.html", facts)


@require_POST
@member()
async def influence(request: MemberRequest, code: UUID) -> HttpResponse:
    """The answer with a shade on each word that the private model moved; made on request."""
    answer = await hosts.step(request.tenant.pk, readable, request, code)
    facts: dict[str, Any] = {"answer": answer}
    try:
        facts["weighed"] = await weighed(request.tenant.pk, code, request.user)
    except EngineError as error:
        facts["refusal"] = sentence(error)
    except hosts.Refusal:
        facts["refusal"] = _("The model could not make this answer once more.")
    return await hosts.step(request.tenant.pk, render, request, "chat/influence.html", facts)


@require_safe
@member()
def beside(request: MemberRequest, code: UUID) -> HttpResponse:
    """An answer beside the anchor's own to the same question, with the same seed and settings."""
    answer = readable(request, code)
    same = answer.conversation.messages.filter(parent=answer.parent).select_related("composition")
    voices = list(same.order_by("position"))
    alone = next((each for each in reversed(voices) if each.is_by_anchor_alone), None)
    both = answer if not answer.is_by_anchor_alone else voices[0]
    facts = {"question": answer.question, "both": both, "alone": alone, "here": answer.conversation}
    return render(request, "chat/beside.html", facts)


def readable(request: MemberRequest, code: UUID) -> Message:
    """One's own answer whose maker one may still use; else 404."""
    answer = fetch(request, Message, code)
    if answer.role != Role.ASSISTANT:
        raise Http404("Only answers have this.")
    require_open(answer.conversation, request)
    return answer


def require_open(here: Conversation, request: MemberRequest) -> None:
    if Conversation.objects.with_lock(request.user).get(pk=here.pk).is_locked:
        raise Http404("Its answers may not be read now.")


def at(request: MemberRequest) -> UUID | None:
    """The message that an address points at; nonsense points at none."""
    try:
        return UUID(request.GET.get("at", ""))
    except ValueError:
        return None


@require_safe
@member(TenantRole.CURATOR)
def usage_by_day(_request: MemberRequest) -> HttpResponse:
    """Questions and tokens of the tenant by day, for the chart beside its limits."""
    return JsonResponse({"series": usage.by_day()})
