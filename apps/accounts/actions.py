"""Opening tenants, inviting people, issuing keys: each one transaction with its audit line."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from apps.accounts.models import ApiKey, Scope, User
from apps.audit import actions as audit
from apps.tenants.models import Membership, Role, Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint import keys
from counterpoint.database.kept import Kept

KEY = re.compile(r"cp_([0-9a-f]{12})_([\w-]{20,80})", re.ASCII)
USED_EVERY = timedelta(minutes=1)  # last use is told to the minute: not one write per request

# Asked with every request of a program.
_keys = Kept(
    lambda prefix: ApiKey.objects.select_related("user__answers", "tenant").filter(prefix=prefix)
)
_here = Kept(
    lambda tenant, owner, answers: Membership.objects.filter(
        tenant=tenant, user__in=[owner, answers]
    )
)


def open_tenant(name: str, slug: str) -> Tenant:
    """A new, empty tenant. Raises InputError("tenant.slug_taken")."""
    if Tenant.objects.filter(slug=slug).exists():
        raise InputError("tenant.slug_taken", "Another tenant has this short name.", slug=slug)
    with transaction.atomic():
        tenant = Tenant.objects.create(name=name, slug=slug)
        with tenant_scope(tenant):
            keys.make_first()
            audit.record("tenant.open", tenant, by=None)
    return tenant


def invite(
    tenant: Tenant, email: str, name: str, role: Role, password: str, *, by: User | None = None
) -> User:
    """A person in a tenant, made when the address is new; the password that `by` chose opens
    nothing then but the page that changes it.

    Somebody known keeps their own password. Raises InputError("password.weak").
    """
    email = email.strip().lower()
    user = User.objects.filter(email=email).first()
    with tenant_scope(tenant):
        try:
            # Of everybody: a refusal for the unknown alone would tell which addresses are known.
            validate_password(password, User(email=email, name=name))
        except ValidationError as error:
            raise InputError("password.weak", " ".join(error.messages)) from error
        if user is None:
            user = User.objects.create_user(email, password, name=name)
            User.objects.filter(pk=user.pk).update(must_change_password=by is not None)
        Membership.objects.update_or_create(tenant=tenant, user=user, defaults={"role": role})
        audit.record("member.invite", user, by=by, role=str(role))
    return user


def remove(tenant: Tenant, user: User, *, by: User) -> None:
    """Take a person out of a tenant: their keys and their view of it end at once."""
    with tenant_scope(tenant):
        revoked = end_membership(tenant, user)
        audit.record("member.remove", user, by=by, keys_revoked=revoked)


def renew_password(tenant: Tenant, user: User, *, by: User) -> str:
    """A drawn password for whoever forgot theirs, to be told to them and changed by them.

    It ends their sessions; second factors stay. Raises InputError("password.elsewhere") for
    somebody who belongs to another tenant too, or signs in by no password.
    """
    here = user.memberships.filter(tenant=tenant).exists()
    if not here or user.memberships.count() > 1 or not user.has_usable_password():
        raise InputError("password.elsewhere")
    drawn = secrets.token_urlsafe(18)
    with tenant_scope(tenant):
        user.set_password(drawn)  # each session hangs on the one before
        user.must_change_password = True
        user.save(update_fields=["password", "must_change_password"])
        audit.record("password.renew", user, by=by)
    return drawn


def end_membership(tenant: Tenant, user: User) -> int:
    """End a person's membership and keys here, in the transaction at hand; how many keys.

    Whoever belongs nowhere any more, and was let in by a directory or a provider, is deactivated:
    the next request of each of their sessions finds nobody. A session hangs on the mark in place of
    a password: with another one it stays ended when the person comes back.
    """
    Membership.objects.filter(tenant=tenant, user=user).delete()
    mine = ApiKey.objects.filter(tenant=tenant, user=user, revoked_at=None)
    revoked = mine.update(revoked_at=timezone.now())
    if not user.has_usable_password() and not user.memberships.exists():
        User.objects.filter(pk=user.pk).update(is_active=False, password=make_password(None))
    return revoked


def told_in_each_tenant(action: str, user: User, *, by: User | None = None) -> None:
    """A line in the log of every tenant that the person belongs to: the session opens them all."""
    for membership in Membership.objects.filter(user=user).select_related("tenant"):
        with tenant_scope(membership.tenant):
            audit.record(action, user, by=by or user)


def open_service(tenant: Tenant, name: str, *, by: User) -> User:
    """An account for a program, which its maker answers for: it may read what it is granted.

    Raises InputError("service.name").
    """
    label = slugify(name)[:40]
    if not label:
        raise InputError("service.name")
    email = f"{label}.{secrets.token_hex(4)}@service.{tenant.slug}.invalid"
    with tenant_scope(tenant):
        service = User.objects.create_user(email, name=name.strip()[:120])
        User.objects.filter(pk=service.pk).update(answers=by)
        service.answers = by
        Membership.objects.create(tenant=tenant, user=service, role=Role.EMPLOYEE)
        audit.record("service.create", service, by=by)
    return service


def issue_key(
    user: User,
    tenant: Tenant,
    name: str,
    *,
    days: int | None = None,
    scopes: Sequence[str] = (Scope.MODELS, Scope.CHAT),
    only_models: Sequence[str] = (),
    by: User | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, which is shown once and kept nowhere: `cp_<prefix>_<secret>`.

    days  never more than the site allows
    by    whoever makes it, when it is a service account's
    """
    lasts = min(days or settings.API_KEY_DAYS, settings.API_KEY_DAYS)
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with tenant_scope(tenant):
        key = ApiKey.objects.create(
            user=user,
            tenant=tenant,
            name=name,
            prefix=prefix,
            digest=digest(secret),
            expires_at=timezone.now() + timedelta(days=lasts),
            scopes=list(scopes),
            only_models=list(only_models),
        )
        audit.record("key.issue", key, by=by or user, days=lasts, scopes=list(scopes))
    return key, f"cp_{prefix}_{secret}"


def revoke_key(key: ApiKey, *, by: User) -> None:
    """End a key now; a second time changes nothing."""
    with tenant_scope(key.tenant_id):
        if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
            audit.record("key.revoke", key, by=by)


def key_from(secret_text: str) -> ApiKey | None:
    """The usable key of this text, or None: unknown, wrong, expired, revoked, owner gone.

    The secret is compared in constant time, also when the prefix is unknown.
    """
    shape = KEY.fullmatch(secret_text)
    if shape is None:
        return None
    prefix, secret = shape.groups()
    key = next(iter(_keys(prefix=prefix)), None)
    matches = hmac.compare_digest(key.digest if key else digest(""), digest(secret))
    now = timezone.now()
    if key is None or not matches or not may_act(key, now):
        return None
    if key.last_used_at is None or now - key.last_used_at > USED_EVERY:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return key


def may_act(key: ApiKey, now: datetime) -> bool:
    """Whether the key, its owner and, for a service, whoever answers for it are all still here."""
    owner, answers = key.user, key.user.answers or key.user
    if not (key.is_usable(now) and owner.is_active and answers.is_active):
        return False
    here = _here(tenant=key.tenant_id, owner=owner, answers=answers)
    return {each.user_id for each in here} == {owner.pk, answers.pk}


def digest(secret: str) -> str:
    """SHA-256: enough for 256 random bits, which no dictionary holds."""
    return hashlib.sha256(secret.encode()).hexdigest()
