"""What the page's script asks for while somebody writes and reads: drafts kept, formulas drawn."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.views.decorators.http import require_POST

from apps.chat import drafts, formulas
from apps.chat.models import Conversation
from apps.tenants.access import MemberRequest, fetch, member
from calm_engine.errors import InputError
from counterpoint.wording import sentence


@require_POST
@member()
def draft(request: MemberRequest) -> HttpResponse:
    """Keep what is being written in one's own conversation, or for a new one."""
    code = request.POST.get("conversation", "")
    here = fetch(request, Conversation, code) if code else None
    try:
        drafts.keep(request.POST.get("text", ""), here, by=request.user)
    except InputError as error:
        return JsonResponse({"error": sentence(error), "code": error.code}, status=400)
    return HttpResponse(status=204)


@require_POST
@member()
def mathml(request: MemberRequest) -> HttpResponse:
    """`{"formulas": [[TeX, stands alone], ...]}` as MathML; null where the source is to stay.

    A POST, since an address would stand in logs: the formulas are somebody's answer.
    """
    wanted = _wanted(request.body)
    if wanted is None:
        return JsonResponse({"error": "Formulas are pairs of TeX and true or false."}, status=400)
    return JsonResponse({"mathml": formulas.made(wanted)})


def _wanted(body: bytes) -> list[tuple[str, bool]] | None:
    try:
        told: Any = json.loads(body)["formulas"]
        pairs = [(tex, alone) for tex, alone in told]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_whole = all(isinstance(tex, str) and isinstance(alone, bool) for tex, alone in pairs)
    return pairs if is_whole else None
