"""A reply as server-sent events: what was said before, what is said now, and its end.

Reads the Valkey stream that `relay.py` writes; any number of tabs may read, from where each left
off. The row is the truth: when the stream is silent or gone, it says how the reply ended.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from apps.chat.models import Conversation, Message
from apps.chat.relay import note_of, stream_name
from apps.registry import hosts
from counterpoint import live
from counterpoint.database import current_tenant_id

PLACE = re.compile(r"\d{1,20}-\d{1,20}\Z")
BEGINNING = "0-0"


async def reply_events(
    tenant_id: UUID, reply_id: UUID, *, after: str = ""
) -> AsyncGenerator[bytes]:
    """Events of one reply after this id, to its end; every event has an id to resume from.

    token {"text"}, state {"state", "note"}, done {"state", "text", "note"} with the whole text.
    Whoever calls has checked that the reader may see the reply.
    """
    current_tenant_id.set(tenant_id)  # the body is made after the middleware is gone
    if end := await hosts.step(tenant_id, end_of, reply_id):
        yield live.sse("done", end, BEGINNING)
        return
    after = after if PLACE.match(after) else BEGINNING
    async with aclosing(live.follow(stream_name(reply_id), after)) as events:  # type: ignore[type-var]  # it is a generator
        async for place, told in events:
            if told is not None:
                yield live.sse(told["event"], told["data"], place)
                if told["event"] == "done":
                    return
            elif end := await hosts.step(tenant_id, end_of, reply_id):
                yield live.sse("done", end, place)
                return
            else:
                yield live.HEARTBEAT


def end_of(reply_id: UUID) -> dict[str, str] | None:
    """The last event of a reply that has ended, from its row; None while it goes on."""
    reply = Message.objects.select_related("conversation__owner").filter(pk=reply_id).first()
    if reply is None:
        return {"state": "failed", "text": "", "note": "This conversation was deleted."}
    if reply.is_active:
        return None
    note = reply.failure_text or note_of(reply.state, reply.text)
    own = Conversation.objects.filter(pk=reply.conversation_id)
    is_locked = own.with_lock(reply.conversation.owner).get().is_locked
    return {"state": reply.state, "text": "" if is_locked else reply.text, "note": note}
