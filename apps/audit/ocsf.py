"""One audit line in the shape that collectors know. Knows no collector.

Source: Open Cybersecurity Schema Framework 1.3: Account Change (3001), Authentication (3002), API
Activity (6003). What the schema has no place for, the chain above all, stands under `unmapped`.
"""

from __future__ import annotations

from typing import Any

from apps.audit.models import AuditEvent

SCHEMA, PRODUCT = "1.3.0", {"name": "Counterpoint", "vendor_name": "Counterpoint"}
ACCOUNT, AUTHENTICATION, ACTIVITY = 3001, 3002, 6003
CATEGORY = {ACCOUNT: 3, AUTHENTICATION: 3, ACTIVITY: 6}
OF_ACCOUNTS = ("member.", "key.", "group.", "service.", "session.", "scim.", "factor.")
# The last word of an action says what was done; 99 is the schema's "other".
DONE = {"create": 1, "read": 2, "export": 2, "verify": 2, "delete": 4, "remove": 4, "revoke": 4}
UPDATES = ("change", "move", "grant", "refuse", "rotate", "rename", "quarantined", "ready")
SUCCESS, FAILURE, UNKNOWN = 1, 2, 0
INFORMATIONAL, MEDIUM = 1, 3


def class_of(action: str) -> int:
    if action in ("sign_in", "sign_out", "emergency.sign_in"):
        return AUTHENTICATION
    return ACCOUNT if action.startswith(OF_ACCOUNTS) else ACTIVITY


def activity_of(action: str, kind: int) -> int:
    """The schema's number for what was done, within the class."""
    if kind == AUTHENTICATION:
        return 2 if action == "sign_out" else 1
    word = action.rpartition(".")[2]
    if kind == ACCOUNT:
        return {"invite": 1, "issue": 1, "create": 1, "remove": 6, "revoke": 6}.get(word, 99)
    return DONE.get(word, 3 if word in UPDATES else 99)


def event(line: AuditEvent) -> dict[str, Any]:
    """The line as one OCSF event; its number and digest let a collector prove the chain."""
    kind = class_of(line.action)
    activity = activity_of(line.action, kind)
    ok = line.outcome == "ok"
    who = {"uid": str(line.by_id), "type_id": 1} if line.by_id else {"type_id": 3, "name": "system"}
    told: dict[str, Any] = {
        "category_uid": CATEGORY[kind],
        "class_uid": kind,
        "activity_id": activity,
        "type_uid": kind * 100 + activity,
        "time": int(line.at.timestamp() * 1000),
        "severity_id": INFORMATIONAL if ok else MEDIUM,
        "status_id": SUCCESS if ok else FAILURE if line.outcome == "refused" else UNKNOWN,
        "status": line.outcome,
        "actor": {"user": who},
        "metadata": {
            "version": SCHEMA,
            "product": PRODUCT,
            "uid": line.digest,
            "sequence": line.sequence,
            "tenant_uid": str(line.tenant_id),
        },
        "unmapped": {
            "action": line.action,
            "facts": line.facts,
            "previous": line.previous,
            "seal": line.seal,
        },
    }
    if kind == ACTIVITY:
        told["api"] = {"operation": line.action, "service": {"name": "counterpoint"}}
        told["resources"] = resources(line)
    else:
        told["user"] = {"uid": line.resource_id or str(line.by_id or "")}
    return told


def resources(line: AuditEvent) -> list[dict[str, str]]:
    if not line.resource_id:
        return []
    named = {"uid": line.resource_id, "type": line.resource_type, "name": line.resource_name}
    return [named]
