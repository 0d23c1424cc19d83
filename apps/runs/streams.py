"""Server-sent events of a run. One process watches a run once, for however many pages are open.

The numbers carry their step as the event's id: a page that comes back names the last one it has
seen (Last-Event-ID) and is told what came since, from the rows, which outlive every process. Rights
are checked again while a page watches; regions are drawn when something has happened, at most once
a second, and are the same for everybody who may see the run. No page holds a connection to the
database while it waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import redis
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.loader import render_to_string

from apps.runs.models import Run
from apps.runs.pages import PARTS, facts_of
from apps.tenants.access import MemberRequest, fetch
from apps.tenants.scope import tenant_scope
from counterpoint.database import current_tenant_id
from counterpoint.live import HEARTBEAT, apart, listen, sse

REGIONS = ("strip", "status", "device", "samples", "checkpoints", "story")
REGION_SECONDS = 1.0  # regions are drawn again at most this often
RIGHTS_SECONDS = 10.0  # a right that was taken ends a stream within this
AWAY_SECONDS = 2.0  # between two tries to hear a broker that is away
WAITING = 200  # pieces kept for a page that reads slowly; it then begins anew


@dataclass(eq=False)
class Watch:
    """One run as this process watches it: what is drawn now, and the pages that want to know."""

    tenant_id: UUID
    code: UUID
    drawn: dict[str, str] = field(default_factory=dict)
    pages: set[asyncio.Queue[bytes | None]] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    phase: str = ""
    draws: int = 0

    async def go(self) -> None:
        """Listen until nobody watches; draw what has changed, and pass the numbers on."""
        current_tenant_id.set(self.tenant_id)
        while True:
            try:
                await self._listen()
            except (redis.RedisError, OSError):
                await asyncio.sleep(AWAY_SECONDS)  # the broker is away; rows are still drawn
                for piece in await self.draw():
                    self._tell(piece)

    async def _listen(self) -> None:
        told = 0.0
        async for news in listen(f"run:{self.code}"):
            if news is None:
                self._tell(HEARTBEAT)
            elif rows := news.get("rows"):
                self._tell(metrics_event(rows))
            is_due = time.monotonic() - told >= REGION_SECONDS
            if is_due or (news is not None and "state" in news):
                told = time.monotonic()
                for piece in await self.draw():
                    self._tell(piece)

    async def draw(self) -> list[bytes]:
        """Draw the regions; those that have changed, as events."""
        self.draws += 1
        self.phase, fresh = await apart(_drawn, self.tenant_id, self.code)
        changed = [
            region_event(name, html) for name, html in fresh.items() if self.drawn.get(name) != html
        ]
        self.drawn = fresh
        return changed

    def _tell(self, piece: bytes) -> None:
        for page in list(self.pages):
            try:
                page.put_nowait(piece)
            except asyncio.QueueFull:
                self.pages.discard(page)
                page.get_nowait()
                page.put_nowait(None)  # it comes back by itself, and asks for what it missed


_watches: dict[tuple[int, UUID, UUID], Watch] = {}


def watch_of(tenant_id: UUID, code: UUID) -> Watch:
    """This process's watch of a run; begun by the first page, in the loop that serves it."""
    key = (id(asyncio.get_running_loop()), tenant_id, code)
    if key not in _watches:
        watch = _watches[key] = Watch(tenant_id, code)
        watch.task = asyncio.create_task(watch.go())
    return _watches[key]


def leave(watch: Watch, page: asyncio.Queue[bytes | None]) -> None:
    """Take a page away; the last one ends the watch."""
    watch.pages.discard(page)
    if not watch.pages:
        if watch.task is not None:
            watch.task.cancel()
        for key, each in list(_watches.items()):
            if each is watch:
                del _watches[key]


async def events(
    request: MemberRequest, tenant_id: UUID, code: UUID, seen: int | None
) -> AsyncIterator[bytes]:
    """What one page is told: the numbers it missed, the page as it is now, then what happens.

    seen   the last step whose numbers the page has (Last-Event-ID), or None for a fresh page
    """
    watch = watch_of(tenant_id, code)
    page: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING)
    watch.pages.add(page)
    try:
        if not watch.drawn:
            await watch.draw()
        if seen is not None:
            missed = await apart(_rows_since, tenant_id, code, seen)
            if missed:
                yield metrics_event(missed)
        for name, html in watch.drawn.items():
            yield region_event(name, html)
        async for piece in _following(request, watch, page):
            yield piece
    finally:
        leave(watch, page)


async def _following(
    request: MemberRequest, watch: Watch, page: asyncio.Queue[bytes | None]
) -> AsyncIterator[bytes]:
    phase, checked = "", time.monotonic()
    with suppress(Http404, PermissionDenied):  # a right that was taken ends the stream
        while True:
            if phase != watch.phase:
                phase, checked = watch.phase, time.monotonic()
                drawn = await apart(_buttons, request, watch.tenant_id, watch.code)
                yield region_event("actions", drawn)
            elif time.monotonic() - checked >= RIGHTS_SECONDS:
                checked = time.monotonic()
                await apart(may_see, request, watch.tenant_id, watch.code)
            with suppress(TimeoutError):
                piece = await asyncio.wait_for(page.get(), RIGHTS_SECONDS)
                if piece is None:
                    return
                yield piece


def metrics_event(rows: list[Any]) -> bytes:
    return sse("metrics", {"rows": rows}, id=str(max(row[0] for row in rows)))


def region_event(name: str, html: str) -> bytes:
    return sse("region", {"id": f"run-{name}", "html": html})


def _drawn(tenant_id: UUID, code: UUID) -> tuple[str, dict[str, str]]:
    """What the run is in, and each shared region of its page; nobody's own buttons are in them."""
    with tenant_scope(tenant_id):
        run = Run.objects.select_related(*PARTS).get(pk=code)
        facts = facts_of(run)
        drawn: dict[str, str] = {
            name: render_to_string(f"runs/_{name}.html", facts) for name in REGIONS
        }
    wishes = (run.cancel_requested_at is not None, run.pause_requested_at is not None)
    return f"{run.state} {run.epoch} {wishes}", drawn


def may_see(request: MemberRequest, tenant_id: UUID, code: UUID) -> None:
    """Raises Http404 when this person may no longer see the run."""
    with tenant_scope(tenant_id):
        fetch(request, Run, code)


def _buttons(request: MemberRequest, tenant_id: UUID, code: UUID) -> str:
    """This person's buttons, with their own token. Raises Http404 as `may_see` does."""
    with tenant_scope(tenant_id):
        facts = facts_of(fetch(request, Run, code))
        return render_to_string("runs/_actions.html", facts, request=request)


def _rows_since(tenant_id: UUID, code: UUID, step: int) -> list[list[Any]]:
    with tenant_scope(tenant_id):
        run = Run.objects.get(pk=code)
        # The step itself again: it may have come in two parts.
        found = run.metrics.filter(step__gte=step).order_by("step")
        return [list(row) for row in found.values_list("step", "name", "value")]
