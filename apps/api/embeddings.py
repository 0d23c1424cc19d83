"""Vectors for programs, by the embedder in use: the same keys, limits and audit as for answers."""

from __future__ import annotations

from contextlib import aclosing

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from apps.api.openai import (
    Admission,
    admit,
    bearer,
    body_of,
    counted,
    door,
    embedder_named,
    first_of,
    heard,
    key_of,
    tokens_of,
)
from apps.api.schemas import Embedding, read
from apps.registry import hosts
from apps.registry.models import Embedder
from counterpoint.live import apart

PATH = "embeddings"


@door("POST")
async def embeddings(request: HttpRequest) -> HttpResponseBase:
    secret = bearer(request)
    asked = read(Embedding, body_of(request))
    admission = await apart(admit, secret, asked, PATH, embedder_named)
    body = asked.model_dump(exclude_unset=True) | admission.theirs
    source = hosts.whole(admission.addresses, PATH, body)
    async with aclosing(heard(source, admission, is_allowed)) as answers:
        answer = await first_of(answers)
    await counted(admission, tokens_of(answer))
    return JsonResponse(answer | {"model": admission.name})


def is_allowed(admission: Admission) -> bool:
    """Whether key, owner and membership still allow it, and the embedder is still there."""
    there = Embedder.objects.filter(pk=admission.model.pk)
    return key_of(admission) is not None and there.exists()
