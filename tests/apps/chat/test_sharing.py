"""A share shows what stood there to whoever has the rights themselves, and to nobody else."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.chat.actions import ask, finish_reply, open_conversation
from apps.chat.models import Message, Share, State
from apps.chat.sharing import opened, revoke, share
from apps.corpora.actions import revoke as revoke_grant
from apps.corpora.models import CorpusGrant
from apps.registry.models import Composition
from apps.tenants.models import Group, GroupMember
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.chat.making import MODEL, make_model
from tests.cast import Cast

PLANTED = "the heron wears a copper ring"


@pytest.fixture
def model(cast: Cast) -> Composition:
    return make_model(cast.north, cast.ada, cast.bo)


def said(cast: Cast, *texts: str) -> list[Message]:
    """A conversation of Ada's: each text a question with its answer."""
    here = open_conversation(MODEL, by=cast.ada)
    found = []
    for text in texts:
        reply = ask(here, text, by=cast.ada)
        assert finish_reply(reply.pk, f"{text} Yes.", state=State.COMPLETE)
        found.append(Message.objects.get(pk=reply.pk))
    return found


def test_who_was_shown_it_and_may_read_it_all_reads_up_to_there(
    cast: Cast, model: Composition
) -> None:
    with tenant_scope(cast.north):
        first, _second = said(cast, "One?", "Two?")
        shown = share(first, by=cast.ada, people=[" BO@north.example "])
        assert [message.text for message in opened(shown, cast.bo)] == ["One?", "One? Yes."]
        shown.refresh_from_db()
        assert shown.opened == 1
    page = cast.client(cast.bo).get(f"/chat/shared/{shown.pk}/").content.decode()
    assert "One? Yes." in page
    assert "Two?" not in page
    assert cast.client(cast.otto).get(f"/chat/shared/{shown.pk}/").status_code == 404


def test_a_share_lends_nobody_a_right(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        (answer,) = said(cast, PLANTED)
        shown = share(answer, by=cast.ada, everybody=True)
        with pytest.raises(InputError, match="handbook papers"):
            opened(shown, cast.otto)
        named = share(answer, by=cast.ada, people=["otto@north.example"])
    for path in (f"/chat/shared/{shown.pk}/", f"/chat/shared/{named.pk}/", "/chat/shares/"):
        assert PLANTED not in cast.client(cast.otto).get(path).content.decode()
    board = cast.client(cast.ada).get("/chat/shares/").content.decode()
    assert "Otto Veen cannot open it" in board
    with tenant_scope(cast.north):
        opened(shown, cast.bo)
        revoke_grant(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
        with pytest.raises(InputError):
            opened(shown, cast.bo)


def test_a_group_sees_it_as_long_as_one_is_in_it(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        (answer,) = said(cast, "One?")
        group = Group.objects.create(name="Field")
        GroupMember.objects.create(group=group, user=cast.bo)
        shown = share(answer, by=cast.ada, groups=[str(group.pk), "nonsense"])
        assert shown in Share.objects.visible_to(cast.bo)
        GroupMember.objects.all().delete()
        assert shown not in Share.objects.visible_to(cast.bo)


def test_what_was_taken_back_lapsed_or_deleted_opens_no_more(
    cast: Cast, model: Composition
) -> None:
    with tenant_scope(cast.north):
        (answer,) = said(cast, "One?")
        shares = [share(answer, by=cast.ada, everybody=True, days=1) for _ in range(3)]
        Share.objects.filter(pk=shares[0].pk).update(expires_at=timezone.now())
        revoke(shares[1], by=cast.ada)
        assert list(Share.objects.visible_to(cast.bo)) == [shares[2]]
        assert Share.objects.visible_to(cast.ada).count() == 3
    assert cast.client(cast.bo).post(f"/chat/shared/{shares[2].pk}/revoke").status_code == 404
    assert cast.client(cast.ada).post(f"/chat/shared/{shares[2].pk}/revoke").status_code == 302
    with tenant_scope(cast.north):
        assert not Share.objects.visible_to(cast.bo).exists()
        answer.conversation.delete()
        assert not Share.objects.exists()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "Say who should see it"),
        ({"people": "cy@south.example"}, "Nobody of the organisation"),
        ({"people": ","}, "Say who should see it"),
        ({"people": "x" * 10_000}, "Nobody of the organisation"),
        ({"groups": "nonsense"}, "Say who should see it"),
    ],
)
def test_a_share_without_anybody_is_refused(
    cast: Cast, model: Composition, told: dict[str, str], words: str
) -> None:
    with tenant_scope(cast.north):
        (answer,) = said(cast, "One?")
    page = cast.client(cast.ada).post(f"/chat/messages/{answer.pk}/share", told)
    assert page.status_code == 400
    assert words in page.content.decode()
