"""Two people: one asks, another decides, and what was granted is used once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.accounts.rules import change_rules, rules_of
from apps.audit import approvals
from apps.audit.models import Approval, AuditEvent
from apps.chat import breakglass
from apps.chat.actions import ask, finish_reply, open_conversation
from apps.chat.models import Conversation, State
from apps.evaluation.actions import promote
from apps.evaluation.models import Report
from apps.registry.actions import lift_quarantine, quarantine
from apps.registry.models import Alias, Composition
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.chat.making import MODEL, make_model
from tests.browser.making import fill
from tests.cast import Cast

KIND = Approval.Kind


def want_two(cast: Cast, *kinds: str) -> Tenant:
    cast.north.settings = {"four_eyes": list(kinds)}
    cast.north.save()
    return cast.north


def test_nobody_decides_their_own_wish_and_nobody_decides_twice(cast: Cast) -> None:
    with tenant_scope(cast.north):
        wish = approvals.ask(KIND.POLICY, cast.north, by=cast.ada, reason="Safer.")
        assert approvals.ask(KIND.POLICY, cast.north, by=cast.ada, reason="Again.") == wish
        with pytest.raises(InputError, match=r"approval\.own"):
            approvals.decide(wish, "grant", by=cast.ada)
        approvals.decide(wish, "grant", by=cast.otto)
        with pytest.raises(InputError, match=r"approval\.decided"):
            approvals.decide(wish, "refuse", by=cast.bo)
        with pytest.raises(IntegrityError, match="approval_by_a_second"), transaction.atomic():
            Approval.objects.filter(pk=wish.pk).update(decided_by=cast.ada)


def test_a_reason_is_needed(cast: Cast) -> None:
    with tenant_scope(cast.north), pytest.raises(InputError, match=r"reason\.missing"):
        approvals.ask(KIND.POLICY, cast.north, by=cast.ada, reason=" ")


def test_a_granted_wish_is_used_once_and_lapses(cast: Cast) -> None:
    want_two(cast, KIND.POLICY)
    with tenant_scope(cast.north):
        wish = approvals.ask(KIND.POLICY, cast.north, by=cast.ada, reason="Safer.")
        with pytest.raises(InputError, match=r"approval\.needed"):
            approvals.spend(KIND.POLICY, cast.north, by=cast.ada)
        approvals.decide(wish, "grant", by=cast.otto)
        with pytest.raises(InputError, match=r"approval\.needed"):
            approvals.spend(KIND.POLICY, cast.north, by=cast.bo)  # it is ada's
        Approval.objects.filter(pk=wish.pk).update(until=timezone.now() - timedelta(seconds=1))
        with pytest.raises(InputError, match=r"approval\.needed"):
            approvals.spend(KIND.POLICY, cast.north, by=cast.ada)
        Approval.objects.filter(pk=wish.pk).update(until=timezone.now() + timedelta(hours=1))
        assert approvals.spend(KIND.POLICY, cast.north, by=cast.ada) == wish
        with pytest.raises(InputError, match=r"approval\.needed"):
            approvals.spend(KIND.POLICY, cast.north, by=cast.ada)


def test_switching_four_eyes_off_needs_the_second_person(cast: Cast) -> None:
    tenant = want_two(cast, KIND.POLICY)
    with tenant_scope(tenant):
        with pytest.raises(InputError, match=r"approval\.needed"):
            change_rules(tenant, {"four_eyes": []}, by=cast.ada)
        wish = approvals.ask(KIND.POLICY, tenant, by=cast.ada, reason="We are two only.")
        approvals.decide(wish, "grant", by=cast.otto)
        assert change_rules(tenant, {"four_eyes": []}, by=cast.ada) == {"four_eyes": []}
        line = AuditEvent.objects.get(action="policy.change")
    assert line.facts == {"before": {"four_eyes": ["policy"]}, "after": {"four_eyes": []}}
    assert rules_of(Tenant.objects.get(pk=tenant.pk))["four_eyes"] == []


def test_the_pages_of_rules_and_approvals_do_the_same(cast: Cast) -> None:
    want_two(cast, KIND.POLICY)
    wanted = {"conversation_days": "30", "show_locked_models": "on", "reason": "The works council."}
    wanted |= {"least_recall": "50", "least_private": "0", "most_public_lost": "1"}
    wanted |= {"most_verbatim": "100", "most_canaries": "100", "most_other_corpus": "100"}
    wanted |= {"four_eyes": ["policy"]}
    ada, otto = cast.client(cast.ada), cast.client(cast.otto)
    ada.post("/accounts/rules/", wanted)
    assert rules_of(Tenant.objects.get(slug="north"))["conversation_days"] == 0
    assert b"Ada Lind wants to change the rules" in otto.get("/audit/approvals/").content
    with tenant_scope(cast.north):
        wish = Approval.objects.get()
    assert b"somebody else decides" in ada.get("/audit/approvals/").content
    ada.post(f"/audit/approvals/{wish.pk}/decide", {"verdict": "grant"})
    otto.post(f"/audit/approvals/{wish.pk}/decide", {"verdict": "grant"})
    ada.post("/accounts/rules/", wanted)
    assert rules_of(Tenant.objects.get(slug="north"))["conversation_days"] == 30
    assert cast.client(cast.bo).get("/audit/approvals/").status_code == 403


def test_a_promotion_waits_for_a_second_person_who_may_use_the_model(cast: Cast) -> None:
    want_two(cast, KIND.PROMOTION)
    rows = fill(cast)
    report = next(row for row in rows if isinstance(row, Report))
    with tenant_scope(cast.north):
        Alias.objects.all().delete()
        for second, ends in ((cast.otto, "approval.closure"), (cast.bo, "")):
            with pytest.raises(InputError, match=r"approval\.needed"):
                promote(Alias.LIVE, report, by=cast.ada, reason="Good enough.")
            wish = approvals.ask(
                KIND.PROMOTION, report.composition, by=cast.ada, reason="Good enough."
            )
            approvals.decide(wish, "grant", by=second)
            if ends:
                with pytest.raises(InputError, match=ends.replace(".", r"\.")):
                    promote(Alias.LIVE, report, by=cast.ada, reason="Good enough.")
                Approval.objects.filter(pk=wish.pk).update(spent_at=timezone.now())
                continue
            change = promote(Alias.LIVE, report, by=cast.ada, reason="Good enough.")
        assert change is not None
        assert change.reason == "Good enough. Approved by Bo Aster."


def test_the_report_page_asks_first_where_two_are_needed(cast: Cast) -> None:
    want_two(cast, KIND.PROMOTION)
    report = next(row for row in fill(cast) if isinstance(row, Report))
    with tenant_scope(cast.north):
        Alias.objects.all().delete()
    client = cast.client(cast.ada)
    assert b"Two people are needed here" in client.get(f"/reports/{report.pk}/").content
    client.post(f"/reports/{report.pk}/promote", {"reason": "Good enough.", "seen": ""})
    with tenant_scope(cast.north):
        assert not Alias.objects.filter(name=Alias.LIVE).exists()
        wish = Approval.objects.get()
        approvals.decide(wish, "grant", by=cast.bo)
    assert b"Approved by Bo Aster" in client.get(f"/reports/{report.pk}/").content
    client.post(f"/reports/{report.pk}/promote", {"reason": "Good enough.", "seen": ""})
    with tenant_scope(cast.north):
        assert Alias.objects.get(name=Alias.LIVE).composition == report.composition


def test_barring_needs_one_person_and_lifting_needs_two(cast: Cast) -> None:
    want_two(cast, KIND.LIFT)
    model = next(row for row in fill(cast) if isinstance(row, Composition))
    with tenant_scope(cast.north):
        quarantine(model, by=cast.ada, reason="It leaks.")
        with pytest.raises(InputError, match=r"approval\.needed"):
            lift_quarantine(model, by=cast.ada, reason="It does not.")
    client = cast.client(cast.ada)
    client.post(f"/models/{model.pk}/lift", {"reason": "It does not.", "name": str(model)})
    with tenant_scope(cast.north):
        approvals.decide(Approval.objects.get(), "grant", by=cast.otto)
        lift_quarantine(model, by=cast.ada, reason="It does not.")
        assert Composition.objects.get(pk=model.pk).state == "ready"


# ---- somebody else's words -----------------------------------------------------------------------


def talk(cast: Cast) -> Conversation:
    """Bo asked, and was answered."""
    make_model(cast.north, cast.ada, cast.bo)
    with tenant_scope(cast.north):
        here = open_conversation(MODEL, by=cast.bo)
        reply = ask(here, "What is my question?", by=cast.bo)
        finish_reply(reply.pk, "This is the answer.", state=State.COMPLETE)
    return here


def test_a_conversation_is_read_with_a_reason_and_a_second_person_and_its_owner_sees_it(
    cast: Cast,
) -> None:
    here = talk(cast)
    otto, ada, bo = (cast.client(each) for each in (cast.otto, cast.ada, cast.bo))
    asked = {"code": str(here.pk), "reason": "A complaint of the works council."}
    otto.post("/chat/break-glass/", asked)
    with tenant_scope(cast.north):
        wish = Approval.objects.get()
    opened = f"/chat/break-glass/{wish.pk}/"
    assert otto.get(opened).status_code == 302  # not yet
    ada.post(f"/audit/approvals/{wish.pk}/decide", {"verdict": "grant"})
    assert ada.get(opened).status_code == 404  # granted to otto
    page = otto.get(opened).content.decode()
    assert "What is my question?" in page
    assert "This is the answer." not in page  # he may not read its corpora, and no role helps
    assert "corpora that you may not read" in page
    told = bo.get(f"/chat/{here.pk}/").content.decode()
    assert "Otto Veen read this conversation" in told
    assert "A complaint of the works council." in told
    with tenant_scope(cast.north):
        lines = AuditEvent.objects.filter(action="conversation.read")
        assert [(line.by, line.resource_id) for line in lines] == [(cast.otto, str(here.pk))]
        Approval.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert otto.get(opened).status_code == 302  # its hour is over


def test_only_auditors_and_curators_ask_and_never_for_what_is_not_there(cast: Cast) -> None:
    here = talk(cast)
    assert cast.client(cast.bo).get("/chat/break-glass/").status_code == 403
    with tenant_scope(cast.north):
        for code in ("", "rubbish", str(cast.ada.pk)):
            with pytest.raises(InputError, match=r"conversation\.unknown"):
                breakglass.ask(code, by=cast.otto, reason="Why not.")
    with tenant_scope(cast.south), pytest.raises(InputError, match=r"conversation\.unknown"):
        breakglass.ask(str(here.pk), by=cast.cy, reason="Why not.")
