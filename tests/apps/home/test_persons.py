"""What a person may reach, as a curator sees it: access alone, and what the curator may read."""

from __future__ import annotations

from apps.corpora.actions import create_corpus, grant
from apps.corpora.models import CorpusGrant
from apps.registry.models import Composition
from apps.tenants.models import Group, GroupMember, Membership
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import make_model
from tests.cast import Cast


def shown(cast: Cast) -> str:
    bo = Membership.objects.get(tenant=cast.north, user=cast.bo)
    return cast.client(cast.ada).get(f"/people/{bo.pk}/").content.decode()


def test_each_right_says_where_it_comes_from(cast: Cast) -> None:
    with tenant_scope(cast.north):
        own, through, none = (create_corpus(name, by=cast.ada) for name in ("Own", "Thru", "None"))
        group = Group.objects.create(name="Sales")
        GroupMember.objects.create(group=group, user=cast.bo)
        grant(own, cast.bo, "read", by=cast.ada)
        grant(through, group, "read", by=cast.ada)
    page = shown(cast)
    assert "granted to this person" in page
    assert "granted to the group <bdi>Sales</bdi>" in page
    assert none.name not in page


def test_a_model_says_which_corpus_is_lacking(cast: Cast) -> None:
    made = make_model(cast.north, cast.ada, cast.bo)
    assert ">yes</span>" in shown(cast)
    with tenant_scope(cast.north):
        CorpusGrant.objects.all().delete()
    page = shown(cast)
    assert ">no</span>" in page
    assert "handbook papers</span>" in page
    with tenant_scope(cast.north):
        Composition.objects.filter(pk=made.pk).update(state="quarantined")
        CorpusGrant.objects.create(corpus_id=made.closure[0], user=cast.bo, right="read")
    assert "no: quarantined" in shown(cast)


def test_what_whoever_looks_may_not_read_has_no_name_here(cast: Cast) -> None:
    with tenant_scope(cast.north):
        create_corpus("Secret of Bo", by=cast.bo)
    page = shown(cast)
    assert "Secret of Bo" not in page
    assert "And 1 corpus that you may not read." in page


def test_only_curators_look(cast: Cast) -> None:
    ada = Membership.objects.get(tenant=cast.north, user=cast.ada)
    for person in (cast.bo, cast.otto):
        assert cast.client(person).get(f"/people/{ada.pk}/").status_code == 403
