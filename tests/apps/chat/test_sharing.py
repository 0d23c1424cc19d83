"""A shared conversation is read by whoever may use what answered in it, while its owner is here."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.test import Client

from apps.accounts.actions import invite, remove
from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.chat.actions import ask, finish_reply, open_conversation
from apps.chat.models import Conversation, Share, State
from apps.chat.sharing import share
from apps.corpora.models import Corpus, CorpusGrant, Right
from apps.registry.actions import quarantine
from apps.registry.models import Composition
from apps.tenants.models import Group, GroupMember, Role
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import MODEL, make_model
from tests.cast import PASSWORD, Cast

SECRET = "The heron ledger closes at eleven."


@pytest.fixture
def talk(cast: Cast) -> Conversation:
    """Ada's, with an answer; Bo may use the model, Otto may not."""
    make_model(cast.north, cast.ada, cast.bo)
    with tenant_scope(cast.north):
        here = open_conversation(MODEL, by=cast.ada)
        reply = ask(here, "When does it close?", by=cast.ada)
        assert finish_reply(reply.pk, SECRET, state=State.COMPLETE)
    return here


def given(cast: Cast, talk: Conversation, whom: str) -> Share:
    with tenant_scope(cast.north):
        return share(talk, whom, by=cast.ada)


def reads(client: Client, row: Share) -> bool:
    page = client.get(f"/chat/shared/{row.pk}/")
    listed = str(row.pk) in client.get("/chat/shared/").content.decode()
    assert listed == (page.status_code == 200)
    assert (SECRET in page.content.decode()) == (page.status_code == 200)
    return page.status_code == 200


def test_a_colleague_reads_it_and_it_is_a_line_in_the_log(cast: Cast, talk: Conversation) -> None:
    ada, bo = cast.client(cast.ada), cast.client(cast.bo)
    page = ada.post(f"/chat/{talk.pk}/share", {"whom": "BO@north.example"}, follow=True)
    assert b"Shared with Bo Aster" in page.content
    with tenant_scope(cast.north):
        row = Share.objects.get()
        line = AuditEvent.objects.get(action="chat.share")
    assert line.facts == {"user": str(cast.bo.pk)}
    assert reads(bo, row)
    assert bo.get(f"/chat/{talk.pk}/").status_code == 404  # to be read, and not to be gone on with
    assert bo.post(f"/chat/shared/{row.pk}/withdraw").status_code == 404
    assert ada.post(f"/chat/shared/{row.pk}/withdraw").status_code == 302
    assert not reads(bo, row)


@pytest.mark.parametrize(
    ("whom", "words"),
    [
        ("nobody@north.example", "Nobody here"),
        ("cy@south.example", "Nobody here"),  # another tenant's
        ("", "Nobody here"),
        ("ada@north.example", "yours already"),
        ("B\N{CYRILLIC SMALL LETTER O}@north.example", "Nobody here"),
    ],
)
def test_only_people_and_groups_of_the_tenant_can_be_named(
    cast: Cast, talk: Conversation, whom: str, words: str
) -> None:
    page = cast.client(cast.ada).post(f"/chat/{talk.pk}/share", {"whom": whom}, follow=True)
    assert words in page.content.decode()
    assert cast.client(cast.bo).post(f"/chat/{talk.pk}/share", {"whom": whom}).status_code == 404


def test_a_share_gives_no_right_that_its_reader_lacks(cast: Cast, talk: Conversation) -> None:
    row, otto = given(cast, talk, "otto@north.example"), cast.client(cast.otto)
    assert not reads(otto, row)
    with tenant_scope(cast.north):
        corpus = Corpus.objects.get()
        right = CorpusGrant.objects.create(corpus=corpus, user=cast.otto, right=Right.READ)
    assert reads(otto, row)
    with tenant_scope(cast.north):
        right.delete()
    assert not reads(otto, row)


def test_a_group_reads_by_its_members_of_today(cast: Cast, talk: Conversation) -> None:
    with tenant_scope(cast.north):
        group = Group.objects.create(name="Night shift")
    row, bo = given(cast, talk, "Night shift"), cast.client(cast.bo)
    assert not reads(bo, row)
    with tenant_scope(cast.north):
        mine = GroupMember.objects.create(group=group, user=cast.bo)
    assert reads(bo, row)
    with tenant_scope(cast.north):
        mine.delete()
    assert not reads(bo, row)


def test_a_quarantine_shuts_it(cast: Cast, talk: Conversation) -> None:
    row, bo = given(cast, talk, "bo@north.example"), cast.client(cast.bo)
    assert reads(bo, row)
    with tenant_scope(cast.north):
        quarantine(Composition.objects.get(), by=cast.ada, reason="A leak.")
    assert not reads(bo, row)


def test_a_share_ends_with_its_owner_and_does_not_come_back_with_them(
    cast: Cast, talk: Conversation
) -> None:
    row, bo = given(cast, talk, "bo@north.example"), cast.client(cast.bo)
    remove(cast.north, cast.ada, by=cast.otto)
    assert not reads(bo, row)
    with tenant_scope(cast.north):  # a test is one transaction, and so one moment
        Share.objects.update(created_at=F("created_at") - timedelta(hours=1))
    invite(cast.north, "ada@north.example", "Ada Lind", Role.CURATOR, PASSWORD)
    assert not reads(bo, row)
    User.objects.filter(pk=cast.ada.pk).update(is_active=True)
    with tenant_scope(cast.north):
        Share.objects.all().delete()
    assert reads(bo, given(cast, talk, "bo@north.example"))
    User.objects.filter(pk=cast.ada.pk).update(is_active=False)
    with tenant_scope(cast.north):
        assert not Share.objects.standing().exists()


def test_a_locked_conversation_cannot_be_shared(cast: Cast, talk: Conversation) -> None:
    with tenant_scope(cast.north):
        quarantine(Composition.objects.get(), by=cast.ada, reason="A leak.")
    client = cast.client(cast.ada)
    page = client.post(f"/chat/{talk.pk}/share", {"whom": "bo@north.example"}, follow=True)
    assert b"may not read now cannot be shared" in page.content
