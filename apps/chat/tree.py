"""One way through a conversation that has branched: which messages are shown, and their siblings.

A question follows an answer, an answer has its question as parent; who edits or asks again adds a
sibling. Knows no page and no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from apps.chat.models import Message, Role


@dataclass(frozen=True)
class Spot:
    """One message of the way.

    number, count   which of its siblings it is, from 1
    earlier, later  the siblings beside it; None at the ends
    """

    message: Message
    number: int
    count: int
    earlier: UUID | None
    later: UUID | None


def way(messages: Sequence[Message], at: UUID | None = None) -> list[Spot]:
    """The messages from the first to the newest that lie on one way through this one.

    messages  all of one conversation, in the order of their positions
    at        without it, or where it is none of them, the way of the newest message
    """
    children: dict[UUID | None, list[Message]] = {}
    for message in messages:
        children.setdefault(above(message), []).append(message)
    known = {message.pk: message for message in messages}
    through = known.get(at) if at else None
    shown = _up(through or messages[-1], known) if messages else []
    if through is not None:
        shown += _down(through, children)
    return [_spot(message, children[above(message)]) for message in shown]


def above(message: Message) -> UUID | None:
    """The id of what this one hangs on: an answer's question, a question's answer before it."""
    return message.follows_id if message.role == Role.USER else message.parent_id


def _up(message: Message, known: dict[UUID, Message]) -> list[Message]:
    found = [message]
    while (higher := above(found[-1])) is not None:
        found.append(known[higher])
    return found[::-1]


def _down(message: Message, children: dict[UUID | None, list[Message]]) -> list[Message]:
    """From below it to an end, always by the newest."""
    found: list[Message] = []
    while below := children.get(message.pk):
        message = below[-1]
        found.append(message)
    return found


def _spot(message: Message, siblings: Sequence[Message]) -> Spot:
    place = siblings.index(message)
    return Spot(
        message,
        number=place + 1,
        count=len(siblings),
        earlier=siblings[place - 1].pk if place else None,
        later=siblings[place + 1].pk if place + 1 < len(siblings) else None,
    )
