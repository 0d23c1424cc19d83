"""Vectors of texts by the embedder in use: of passages for the ingest worker, of a question for who
looks something up. Knows no passage's row; what is read is never logged or kept."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from asgiref.sync import async_to_sync
from django.db.models import Q
from django.db.models.functions import Now

from apps.corpora.actions import unread_passages
from apps.corpora.lookup import Meaning
from apps.registry import hosts
from apps.registry.models import Embedder
from calm_engine.errors import EngineError, InternalError
from counterpoint.celery import send

log = structlog.get_logger(__name__)

QUESTION = 2000  # characters of a question that are read
SILENT = timedelta(minutes=2)  # a worker that reads says so with every request
CALLER = "passages"  # who asks, to the model server: programs come in between


@dataclass(frozen=True)
class Reader:
    """The embedder in use, where it is served now."""

    row_id: UUID
    addresses: hosts.Addresses
    name: str
    digest: str
    width: int


def in_use() -> Embedder | None:
    """The tenant's, served or not."""
    found: Embedder | None = Embedder.objects.filter(in_use=True).first()
    return found


def reader() -> Reader | None:
    """The tenant's embedder; None where there is none or where it is not served now."""
    row = in_use()
    addresses = hosts.addresses_of(row) if row else ()
    if row is None or not addresses:
        return None
    return Reader(row.pk, addresses, row.name, row.digest, row.width)


def call_for_reading() -> None:
    """Have a worker read the passages that the embedder has not read, where none does already."""
    row = _unheld().first()
    if row is not None and hosts.addresses_of(row) and unread_passages(row.digest):
        send("ingestion.embed", str(row.tenant_id), str(row.pk))


def _unheld() -> Any:
    """The embedder in use, unless a worker reads with it and was heard of lately."""
    silent = Q(reading_at__isnull=True) | Q(reading_at__lt=Now() - SILENT)
    return Embedder.objects.filter(silent, in_use=True)


def begin_reading(embedder_id: UUID | str) -> bool:
    """Claim the passages for one worker; False: another one is at it, or it is not in use."""
    return bool(_unheld().filter(pk=embedder_id).update(reading_at=Now()))


def go_on_reading(embedder_id: UUID | str) -> Reader | None:
    """Renew the claim; where it is served, None when it is not or no longer in use."""
    Embedder.objects.filter(pk=embedder_id).update(reading_at=Now())
    found = reader()
    return found if found is not None and str(found.row_id) == str(embedder_id) else None


def end_reading(embedder_id: UUID | str) -> None:
    Embedder.objects.filter(pk=embedder_id).update(reading_at=None)


async def meaning_of(tenant_id: UUID, question: str) -> Meaning | None:
    """What a question is about; None where nobody can tell now: words alone are looked for then."""
    found = await hosts.step(tenant_id, reader)
    if found is None or not question.strip():
        return None
    try:
        (vector,) = await _read(found, [question[:QUESTION]])
    except (hosts.Refusal, EngineError) as error:
        log.warning("embedder.question", error=type(error).__name__)
        return None
    return Meaning(found.digest, vector)


def vectors_of(found: Reader, texts: Sequence[str]) -> list[list[float]]:
    """A vector for each text. No transaction may be open. Raises Refusal and InternalError."""
    made: list[list[float]] = async_to_sync(_read)(found, texts)
    return made


async def _read(found: Reader, texts: Sequence[str]) -> list[list[float]]:
    """Raises Refusal, InternalError "model.gone", and "embedder.width" for another's vectors."""
    asked = {
        "model": found.name,
        "input": [text.strip() or " " for text in texts],
        "encoding_format": "base64",
        "truncate": True,
        "user": CALLER,
    }
    async with aclosing(
        hosts.whole(found.addresses, "embeddings", asked, limits=hosts.LIMITS)
    ) as it:
        told = await anext(it)
    vectors = [_spelled(one["embedding"]) for one in told["data"]]
    if [len(vector) for vector in vectors] != [found.width] * len(texts):
        raise InternalError("embedder.width", "the model server gave vectors of another width")
    return vectors


def _spelled(told: Any) -> list[float]:
    raw = base64.b64decode(told)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))
