"""How far the private model moved each word of an answer: the answer is made once more and judged.

Same version, seed and settings; when other words come out, nothing is shown, since it would be of
another text. Influence is no source: it says where the composition departs from the anchor.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from apps.chat.actions import Work, within_limits, work_of
from apps.chat.models import Message, State
from apps.registry import hosts
from apps.registry.closure import can_use
from apps.tenants.typed import storable
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User

# Nats by which a word became likelier than the anchor has it; each bound begins a deeper shade.
SHADES = (0.25, 1.0, 2.5, 5.0)


@dataclass(frozen=True)
class Piece:
    """One token of the answer; shade 0 is the anchor's own choice, 4 is far from it."""

    text: str
    shade: int


@dataclass(frozen=True)
class Weighed:
    """The answer in pieces, and the share of them that the private model moved."""

    pieces: Sequence[Piece]

    @property
    def percent(self) -> int:
        moved = sum(piece.shade > 0 for piece in self.pieces)
        return round(100 * moved / len(self.pieces)) if self.pieces else 0


async def weighed(tenant_id: UUID, reply_id: UUID, by: User) -> Weighed:
    """Raises InputError: "influence.state", "influence.differs", "influence.version", and what
    `hosts.whole` raises when no server answers."""
    addresses, work, text = await hosts.step(tenant_id, _prepared, reply_id, by)
    body = {**work.settings, "model": work.model, "messages": work.messages()}
    body |= {"influence": True, "stream": False}
    async with aclosing(hosts.whole(addresses, "chat/completions", body)) as answers:
        choice = (await anext(answers))["choices"][0]
    if storable(choice["message"]["content"]) != text:
        raise InputError("influence.differs")
    return Weighed([_piece(told) for told in choice["influence"]])


def _prepared(reply_id: UUID, by: User) -> tuple[hosts.Addresses, Work, str]:
    reply = Message.objects.select_related("conversation", "composition", "parent").get(pk=reply_id)
    if reply.state != State.COMPLETE or reply.is_by_anchor_alone:
        raise InputError("influence.state")
    addresses = hosts.addresses_of(reply.maker)
    if not (can_use(by, reply.maker) and addresses):
        raise InputError("influence.version")
    within_limits(by)  # a second making costs what the first did
    return addresses, work_of(reply), reply.text


def _piece(told: dict[str, Any]) -> Piece:
    moved = float(told["logprob"]) - float(told["anchor"])
    return Piece(storable(str(told["token"])), sum(moved >= least for least in SHADES))
