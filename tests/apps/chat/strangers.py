"""Objects of North for the walk of strangers."""

from __future__ import annotations

from uuid import UUID

from apps.audit import approvals
from apps.chat import breakglass
from apps.chat.actions import ask, open_conversation
from apps.chat.models import Message
from apps.chat.sharing import share
from apps.tenants.models import Group, GroupMember, Membership
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import MODEL, make_model
from tests.cast import Cast


def reply(cast: Cast) -> Message:
    make_model(cast.north, cast.ada)
    with tenant_scope(cast.north):
        return ask(open_conversation(MODEL, by=cast.ada), "Where is it made?", by=cast.ada)


def of_conversation(cast: Cast) -> dict[str, UUID]:
    return {"code": reply(cast).conversation_id}


def of_reply(cast: Cast) -> dict[str, UUID]:
    return {"code": reply(cast).pk}


def of_share(cast: Cast) -> dict[str, UUID]:
    """With everybody of North: a group does not widen what somebody may read."""
    here = reply(cast).conversation
    with tenant_scope(cast.north):
        group = Group.objects.create(name="Everybody")
        for each in Membership.objects.filter(tenant=cast.north):
            GroupMember.objects.create(group=group, user=each.user)
        return {"code": share(here, "Everybody", by=cast.ada).pk}


def of_wish(cast: Cast) -> dict[str, UUID]:
    conversation = reply(cast).conversation
    with tenant_scope(cast.north):
        wish = breakglass.ask(str(conversation.pk), by=cast.otto, reason="A complaint.")
        return {"code": approvals.decide(wish, "grant", by=cast.bo).pk}


OF_A_REPLY = (
    "events",
    "stop",
    "again",
    "edit",
    "anchor",
    "rate",
    "fork",
    "evidence",
    "beside",
    "influence",
)
OBJECTS = {
    "chat:opened": of_wish,
    **dict.fromkeys(
        [
            f"chat:{name}"
            for name in ("conversation", "rename", "delete", "pin", "folder", "export", "share")
        ],
        of_conversation,
    ),
    **dict.fromkeys([f"chat:{name}" for name in OF_A_REPLY], of_reply),
    **dict.fromkeys(["chat:shared", "chat:withdraw"], of_share),
}
