"""The rules of the organisation, and who may use how much; everybody sees their own budgets."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts import quotas
from apps.accounts.forms import QuotaForm, RulesForm
from apps.accounts.models import Quota
from apps.accounts.rules import change_rules, changes, rules_of
from apps.audit import approvals
from apps.audit.actions import record
from apps.audit.models import Approval
from apps.tenants.access import MemberRequest, fetch, member, require
from apps.tenants.models import Group, Membership, Role
from calm_engine.errors import InputError
from counterpoint.wording import sentence


@require_http_methods(["GET", "POST"])
@member(role=Role.CURATOR)
def rules(request: MemberRequest) -> HttpResponse:
    """Every rule as it holds; a change is carried out, or asked for where two must agree."""
    now = rules_of(request.tenant)
    form = RulesForm(request.POST or None, initial=now, tenant=request.tenant)
    if request.method == "POST" and form.is_valid():
        wanted = {name: form.cleaned_data[name] for name in now}
        try:
            change_rules(request.tenant, wanted, by=request.user)
        except InputError as error:
            told = asked(request, wanted, form.cleaned_data["reason"], error)
        else:
            told = _("The rules are changed.")
        messages.info(request, told)
        return redirect("accounts:rules")
    two = approvals.wants_two(Approval.Kind.POLICY, request.tenant)
    return render(request, "accounts/rules.html", {"form": form, "needs_two": two})


def asked(request: MemberRequest, wanted: dict[str, Any], reason: str, error: InputError) -> str:
    """Ask a second person; the same change, sent again after their consent, is carried out."""
    if error.code != "approval.needed":
        return sentence(error)
    try:
        approvals.ask(
            Approval.Kind.POLICY,
            request.tenant,
            by=request.user,
            reason=reason,
            **changes(request.tenant, wanted),
        )
    except InputError as refused:
        return sentence(refused)
    return _("Asked. Somebody else grants it under Approvals; then save the same rules again.")


@require_http_methods(["GET", "POST"])
@member()
def usage(request: MemberRequest) -> HttpResponse:
    """One's own budgets; for curators, every limit and a form to set one."""
    is_curator = request.membership.may(Role.CURATOR)
    form = QuotaForm(request.POST or None, whom=choices(request) if is_curator else [])
    if request.method == "POST":
        require(request, Role.CURATOR)
        if form.is_valid():
            set_quota(request, **form.cleaned_data)
            return redirect("accounts:usage")
    page: dict[str, Any] = {"budgets": quotas.budgets(request.user), "is_curator": is_curator}
    if is_curator:
        rows = Quota.objects.select_related("user", "group")
        page |= {"form": form, "quotas": rows}
    return render(request, "accounts/usage.html", page)


def choices(request: MemberRequest) -> list[tuple[str, str]]:
    """Everybody together, each group, each person of the tenant."""
    people = Membership.objects.of(request.tenant).order_by("user__name")
    groups = [(f"group:{group.pk}", group.name) for group in Group.objects.all()]
    persons = [(f"user:{pk}", name) for pk, name in people.values_list("user_id", "user__name")]
    return [("", _("everybody together")), *groups, *persons]


def set_quota(request: MemberRequest, *, kind: str, whom: str, amount: int) -> None:
    """Set or change one limit; the line in the log says what it is now."""
    what, _colon, code = whom.partition(":")
    bound: dict[str, Any] = {"user_id": None, "group_id": None} | (
        {f"{what}_id": code} if code else {}
    )
    quota, _is_new = Quota.objects.update_or_create(kind=kind, **bound, defaults={"amount": amount})
    record("quota.change", quota, by=request.user, amount=amount, whom=whom or "tenant")


@require_POST
@member(role=Role.CURATOR)
def remove_quota(request: MemberRequest, code: UUID) -> HttpResponse:
    """Lift one limit."""
    quota = fetch(request, Quota, code)
    record("quota.remove", quota, by=request.user, amount=quota.amount)
    quota.delete()
    return redirect("accounts:usage")
