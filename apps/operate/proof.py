"""What proves a restored installation: every digest that a row names, and one question answered."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any
from uuid import UUID

from apps.corpora.models import Document
from apps.registry import artifacts, hosts
from apps.registry.models import Anchor, Augmenter, Composition
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.storage import blobs

Say = Callable[[str], object]
START_SECONDS = 600.0  # for the weights of a large model from a slow disk
QUESTION = "Say one word."


def prove_rows(*, say: Say) -> None:
    """Every text and original that a document names opens; every model's bytes are its own.

    Raises InternalError: "blob.missing", "blob.damaged", "key.gone"; InputError("artifact.digest").
    """
    texts = models = 0
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant):
            columns = ("original_digest", "text_digest", "redacted_digest")
            for original, *read in Document.objects.values_list(*columns).iterator():
                if original and blobs().exists("original", original):
                    blobs().prove("original", original)
                    texts += 1
                for text in filter(None, read):
                    blobs().prove("text", text)
                    texts += 1
            rows: list[Any] = [*Anchor.objects.all(), *Augmenter.objects.all()]
            for row in [*rows, *Composition.objects.all()]:
                artifacts.verify(row)
                models += 1
    say(f"rows: {texts} files of documents and {models} models are there, digests right")


def ask_one_question(*, say: Say) -> None:
    """Serve one live model and let it answer. Raises InputError("restore.no_answer")."""
    found = live_model()
    if found is None:
        say("no model is live: nothing to ask")
        return
    tenant_id, model = found
    host = subprocess.Popen(
        [sys.executable, "-m", "workers.hosting"],
        env=os.environ | {"COUNTERPOINT_HOST_NAME": "restore"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        address = wait_for(host, tenant_id, model)
        tokens = asyncio.run(answer(address, model))
    finally:
        host.send_signal(signal.SIGTERM)
        host.wait(60)
    say(f"{model} answered one question with {tokens} tokens")


def live_model() -> tuple[UUID, str] | None:
    """Tenant and name of one model that `live` names."""
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant):
            row = Composition.objects.live().filter(state=Composition.State.READY).first()
            if row is not None:
                return tenant.pk, row.name
    return None


def wait_for(host: subprocess.Popen[bytes], tenant_id: UUID, model: str) -> hosts.Addresses:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and host.poll() is None:
        with tenant_scope(tenant_id):
            row = Composition.objects.live().filter(name=model).first()
            if row is not None and (addresses := hosts.addresses_of(row)):
                return addresses
        time.sleep(1.0)
    raise InputError("restore.no_answer", f"{model} was restored, but is not served; see logs/.")


async def answer(addresses: hosts.Addresses, model: str) -> int:
    """How many tokens came: what they say is nobody's business here."""
    messages = [{"role": "user", "content": QUESTION}]
    settings = {"max_tokens": 8, "temperature": 0}
    tokens = 0
    stream = hosts.stream_chat(addresses, messages, model=model, settings=settings)
    async with aclosing(stream) as pieces:
        async for piece in pieces:
            tokens = (piece.usage or {}).get("completion_tokens", tokens)
    if not tokens:
        raise InputError("restore.no_answer", f"{model} was restored, but said nothing.")
    return tokens
