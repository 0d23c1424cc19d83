"""The rules of one organisation: what they are by default, how they change, who must agree.

Kept in the tenant's settings under the names below; every change is a line in the log with what was
and what is. Where policy is among the rules of four eyes, a second person agrees first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.audit import approvals
from apps.audit.actions import record
from apps.audit.models import Approval
from apps.tenants.models import Tenant

if TYPE_CHECKING:
    from apps.accounts.models import User

DEFAULTS: dict[str, Any] = {
    "four_eyes": [],
    "show_locked_models": True,
    "conversation_days": 0,
    # What models said that learned what was forgotten since: destroyed, or kept and shut.
    "keep_forgotten_answers": False,
    "require_mfa": False,
    "sso_only": False,
    "emergency": [],  # ids of curators who get in while the provider is away
    # What a model must show, in percent of questions: what an augmenter knows before it is
    # composed, what a composition answers of those held out, what it may lose in public skill.
    "least_recall": 50,
    "least_private": 0,
    "most_public_lost": 1,
    # What should not come out, in percent of what was asked for; 100 asks for nothing.
    "most_verbatim": 100,
    "most_canaries": 100,
    "most_other_corpus": 100,
}


def rules_of(tenant: Tenant) -> dict[str, Any]:
    """Every rule, as it holds now."""
    return {name: tenant.settings.get(name, default) for name, default in DEFAULTS.items()}


def changes(tenant: Tenant, wanted: dict[str, Any]) -> dict[str, Any]:
    """Of these rules, the ones that are not so already."""
    now = rules_of(tenant)
    return {name: wanted[name] for name in DEFAULTS if name in wanted and wanted[name] != now[name]}


def change_rules(tenant: Tenant, wanted: dict[str, Any], *, by: User) -> dict[str, Any]:
    """Make these the rules; what changed. Raises InputError("approval.needed")."""
    with transaction.atomic():
        held = Tenant.objects.select_for_update().get(pk=tenant.pk)
        changed = changes(held, wanted)
        if not changed:
            return {}
        before = {name: rules_of(held)[name] for name in changed}
        approvals.spend(Approval.Kind.POLICY, held, by=by)
        held.settings = held.settings | changed
        held.save(update_fields=["settings"])
        record("policy.change", held, by=by, before=before, after=changed)
    tenant.settings = held.settings
    return changed
