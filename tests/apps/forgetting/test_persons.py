"""A person is forgotten: what speaks of them is proposed, confirmed, learned anew, destroyed."""

from __future__ import annotations

import json
from datetime import date
from uuid import uuid4

import pytest

from apps.accounts import oblivion
from apps.accounts.actions import issue_key, key_from
from apps.accounts.models import User
from apps.audit import holds
from apps.audit.models import AuditEvent, Hold
from apps.chat.models import Conversation, Share
from apps.corpora.actions import freeze
from apps.corpora.models import Document, DocumentState, Passage
from apps.forgetting import actions, persons
from apps.forgetting.lineage import affected
from apps.forgetting.models import ForgetPlan, Mention
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.storage import blobs
from tests.apps.corpora.making import make_corpus, take_in
from tests.cast import Cast

FILES = {
    "team.txt": b"The gauges are read by Bo Aster on Mondays.",
    "mail.txt": b"Write to bo@north.example about the gauges of the lake.",
    "aster.txt": b"An aster is a flower that stands beside the lake in autumn.",
}


def opened(cast: Cast) -> ForgetPlan:
    take_in(cast, make_corpus(cast, "Team"), FILES)
    with tenant_scope(cast.north):
        Conversation.objects.create(owner=cast.bo, title="Where is the lake?", model="gauges")
        return persons.open_person_plan(cast.bo, by=cast.ada, reason="He asked to.")


def paths(plan: ForgetPlan) -> set[str]:
    return set(plan.mentions.values_list("document__path", flat=True))


def settle(plan: ForgetPlan, cast: Cast) -> None:
    """The mail goes with its writer; the list of the team stays."""
    for path, verdict in (("mail.txt", "forget"), ("team.txt", "keep")):
        chosen = [str(each.pk) for each in plan.mentions.filter(document__path=path)]
        assert persons.decide(plan, chosen, verdict, by=cast.ada) == 1


def test_search_proposes_who_says_the_name_or_the_address(cast: Cast) -> None:
    plan = opened(cast)
    with tenant_scope(cast.north):
        assert paths(plan) == {"team.txt", "mail.txt"}
        assert affected(plan).snapshots == []  # nothing is confirmed yet
        settle(plan, cast)
        persons.look(plan)  # once more: what was decided stays decided
        assert set(plan.mentions.values_list("verdict", flat=True)) == {"forget", "keep"}


def test_lineage_follows_what_was_confirmed_alone(cast: Cast) -> None:
    plan = opened(cast)
    with tenant_scope(cast.north):
        frozen = freeze(Document.objects.first().corpus, by=cast.ada)  # type: ignore[union-attr]  # there are three
        settle(plan, cast)
        assert affected(plan).snapshots == [frozen]
        plan.mentions.update(verdict=Mention.Verdict.KEEP)
        assert affected(plan).snapshots == []


def test_a_person_goes_and_a_certificate_says_what_is_left(cast: Cast) -> None:
    plan = opened(cast)
    _key, secret = issue_key(cast.bo, cast.north, "script")
    with tenant_scope(cast.north):
        others = Conversation.objects.create(owner=cast.ada, model="handbook", title="Gauges")
        Share.objects.create(conversation=others, user=cast.bo)
        actions.quarantine_now(plan, by=cast.ada)
        with pytest.raises(InputError, match=r"forget\.undecided"):
            actions.destroy(plan, by=cast.ada)
        settle(plan, cast)
        with pytest.raises(InputError, match=r"forget\.order"):  # confirmed since
            actions.destroy(plan, by=cast.ada)
        actions.quarantine_now(plan, by=cast.ada)
        mail = Document.objects.get(path="mail.txt")
        assert mail.state == DocumentState.WITHDRAWN
        actions.destroy(plan, by=cast.ada)
        told = json.loads(actions.certify(plan, by=cast.ada))
        assert told["left"] == []
        assert (told["rows"]["conversations"], told["rows"]["shares"]) == (1, 1)
        assert told["documents"] == [mail.original_digest]
        assert not Passage.objects.filter(body__icontains="bo@north").exists()
        assert not blobs().exists("text", mail.text_digest)
        assert Document.objects.filter(path="team.txt").exists()
        assert not Conversation.objects.filter(owner=cast.bo).exists()
        assert "forget.decide" in AuditEvent.objects.values_list("action", flat=True)
        assert "Bo Aster" not in str(ForgetPlan.objects.get())
    person = User.objects.get(pk=cast.bo.pk)
    assert (person.name, person.is_active) == ("Forgotten person", False)
    assert not person.email.startswith("bo@")
    assert key_from(secret) is None
    assert not Membership.objects.filter(user=person).exists()


def test_everything_of_signing_in_goes_with_a_person() -> None:
    kept = {each.related_model._meta.db_table for each in oblivion.alone_theirs()}
    assert kept >= {
        "account_emailaddress",
        "mfa_authenticator",
        "socialaccount_socialaccount",
        "usersessions_usersession",
    }


def test_who_works_elsewhere_too_keeps_the_name_there(cast: Cast) -> None:
    Membership.objects.create(tenant=cast.south, user=cast.bo, role=Role.EMPLOYEE)
    with tenant_scope(cast.north):
        plan = persons.open_person_plan(cast.bo, by=cast.ada, reason="He asked to.")
        actions.quarantine_now(plan, by=cast.ada)
        actions.destroy(plan, by=cast.ada)
    assert User.objects.get(pk=cast.bo.pk).name == "Bo Aster"
    assert [each.tenant for each in Membership.objects.filter(user=cast.bo)] == [cast.south]


@pytest.mark.parametrize("kind", ["person", "corpus"])
def test_a_hold_beats_the_plan(cast: Cast, kind: str) -> None:
    plan = opened(cast)
    with tenant_scope(cast.north):
        settle(plan, cast)
        subject = cast.bo if kind == "person" else Document.objects.first().corpus  # type: ignore[union-attr]  # as above
        actions.quarantine_now(plan, by=cast.ada)
        holds.place(
            Hold.Kind(kind), subject, by=cast.otto, reason="Court.", review_on=date(2030, 1, 1)
        )
        with pytest.raises(InputError, match=r"hold\.stands"):
            actions.destroy(plan, by=cast.ada)
        assert Conversation.objects.filter(owner=cast.bo).exists()


def test_only_who_curates_a_corpus_decides_about_its_documents(cast: Cast) -> None:
    plan = opened(cast)
    Membership.objects.filter(tenant=cast.north, user=cast.otto).update(role=Role.CURATOR)
    with tenant_scope(cast.north):
        every = [str(each.pk) for each in plan.mentions.all()]
        assert persons.decide(plan, every, "forget", by=cast.otto) == 0
        with pytest.raises(InputError, match=r"forget\.person"):
            persons.open_person_plan(cast.cy, by=cast.ada, reason="Of South.")
    page = cast.client(cast.otto).get(f"/forget/{plan.pk}/").content.decode()
    assert "2 more stand in corpora that others curate" in page
    assert "team.txt" not in page


def test_the_pages_walk_the_same_way(cast: Cast) -> None:
    take_in(cast, make_corpus(cast, "Team"), FILES)
    ada = cast.client(cast.ada)
    sent = {"person": str(cast.bo.pk), "person_reason": "He asked to."}
    page = ada.post("/forget/person", sent, follow=True).content.decode()
    assert "Documents that may speak of this person" in page
    with tenant_scope(cast.north):
        plan = ForgetPlan.objects.get()
        every = [str(each.pk) for each in plan.mentions.all()]
    address = f"/forget/{plan.pk}/decide"
    page = ada.post(address, {"verdict": "forget", "mention": every}, follow=True).content.decode()
    assert "0 undecided" in page
    for wrong in ({"verdict": "burn", "mention": every}, {"verdict": "keep", "mention": "x"}):
        assert ada.post(address, wrong, follow=True).status_code == 200
    assert "The steps come" in ada.post(address, {}, follow=True).content.decode()
    assert ada.post("/forget/person", sent | {"person": str(uuid4())}).status_code == 404
    ada.post(f"/forget/{plan.pk}/act", {"verb": "quarantine"})
    page = ada.post(f"/forget/{plan.pk}/act", {"verb": "destroy"}, follow=True).content.decode()
    assert "Certify" in page
