"""Groups: opened and filled by a curator, who lets nobody read what they do not look after."""

from __future__ import annotations

import pytest

from apps.accounts.models import ProvisionedGroup
from apps.audit.models import AuditEvent
from apps.corpora.actions import create_corpus, grant
from apps.corpora.models import Corpus, CorpusGrant
from apps.tenants.models import Group, GroupMember
from apps.tenants.scope import tenant_scope
from tests.cast import Cast

PAGE = "/corpora/groups/"


def post(cast: Cast, path: str = "", **fields: str) -> str:
    return cast.client(cast.ada).post(PAGE + path, fields, follow=True).content.decode()


@pytest.fixture
def group(cast: Cast) -> Group:
    post(cast, name="  Sales \0 and  service ")
    with tenant_scope(cast.north):
        found: Group = Group.objects.get(name="Sales and service")
    return found


def test_a_group_is_opened_filled_emptied_and_closed(cast: Cast, group: Group) -> None:
    with tenant_scope(cast.north):
        corpus = create_corpus("Prices", by=cast.ada)
        grant(corpus, group, "read", by=cast.ada)
        assert not Corpus.objects.readable_by(cast.bo).exists()
    page = post(cast, f"{group.pk}/add", address=" BO@north.example ")
    assert "Bo Aster" in page
    assert "1 member, reads 1 corpus" in page
    with tenant_scope(cast.north):
        assert Corpus.objects.readable_by(cast.bo).exists()
        row = GroupMember.objects.get()
    post(cast, f"members/{row.pk}/drop")
    with tenant_scope(cast.north):
        assert not Corpus.objects.readable_by(cast.bo).exists()
    post(cast, f"{group.pk}/close")
    with tenant_scope(cast.north):
        assert not Group.objects.exists()
        assert not CorpusGrant.objects.exists()
        lines = AuditEvent.objects.filter(action__startswith="group.").order_by("sequence")
        done = list(lines.values_list("action", flat=True))
        assert done == ["group.open", "group.add", "group.drop", "group.close"]


def test_nobody_lets_others_read_what_they_do_not_look_after(cast: Cast, group: Group) -> None:
    with tenant_scope(cast.north):
        secret = create_corpus("Secret", by=cast.otto)
        grant(secret, group, "read", by=cast.otto)
    for act in ("add", "close"):  # not even themselves
        page = post(cast, f"{group.pk}/{act}", address=cast.ada.email)
        assert "reads corpora that you do not look after" in page
    with tenant_scope(cast.north):
        assert not GroupMember.objects.exists()
        assert Group.objects.exists()


@pytest.mark.parametrize("keeper", ["directory", "sign-in"])
def test_what_others_keep_is_theirs(cast: Cast, group: Group, keeper: str) -> None:
    with tenant_scope(cast.north):
        row = GroupMember.objects.create(group=group, user=cast.bo)
        if keeper == "directory":
            ProvisionedGroup.objects.create(group=group)
        else:
            Group.objects.update(follows_provider=True)
    for path in (f"{group.pk}/add", f"{group.pk}/close", f"members/{row.pk}/drop"):
        assert "keeps the members of this group" in post(cast, path, address=cast.bo.email)
    with tenant_scope(cast.north):
        assert GroupMember.objects.get() == row


def test_what_makes_no_sense_is_refused_in_words(cast: Cast, group: Group) -> None:
    assert "There is already a group of this name" in post(cast, name="Sales and service")
    assert "A group needs a name" in post(cast, name="n" * 10_000)
    assert "A group needs a name" in post(cast, name=" \0 ")
    for address in ("cy@south.example", "", "n" * 10_000):
        assert "Nobody here has this address" in post(cast, f"{group.pk}/add", address=address)


def test_only_curators_see_groups(cast: Cast, group: Group) -> None:
    for person in (cast.bo, cast.otto):
        assert cast.client(person).get(PAGE).status_code == 403
        assert cast.client(person).post(f"{PAGE}{group.pk}/close").status_code == 403
    assert "Sales" not in cast.client(cast.cy).get(PAGE).content.decode()
