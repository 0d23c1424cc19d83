"""Who: tenants, memberships and groups; and the base of every row that belongs to one tenant."""

from __future__ import annotations

import uuid
from typing import Any, Self, TypeVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from apps.tenants.scope import current_tenant_id


class Tenant(models.Model):
    """One sealed organisation or department; every row belongs to exactly one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    slug = models.SlugField(unique=True)
    settings = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


M = TypeVar("M", bound=models.Model, covariant=True)


class TenantManager(models.Manager[M]):
    """Rows of the tenant in scope; without one, none. Row-level security stands behind it."""

    def get_queryset(self) -> models.QuerySet[M]:
        tenant_id = current_tenant_id()
        rows = super().get_queryset()
        return rows.filter(tenant_id=tenant_id) if tenant_id else rows.none()


class TenantModel(models.Model):
    """A row of one tenant, by default of the one in scope. Its table is named in a `Protect`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # No index of its own: every index that is worth having begins with the tenant.
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        default=current_tenant_id,
        editable=False,
        db_index=False,
        related_name="+",
    )

    # Typed by hand: a checker else takes a subclass's own manager for a mistake.
    objects: TenantManager[Any] = TenantManager()

    class Meta:
        abstract = True


class Role(models.TextChoices):
    """What a person may do in a tenant. No role grants reading a corpus or using a model."""

    EMPLOYEE = "employee", "Employee"
    CURATOR = "curator", "Curator"
    AUDITOR = "auditor", "Auditor"

    def covers(self, wanted: Role) -> bool:
        """Whether this role may do what the wanted one may: a curator is also an employee."""
        return self == wanted or (self == Role.CURATOR and wanted == Role.EMPLOYEE)


class MembershipQuerySet(models.QuerySet["Membership"]):
    def of(self, tenant: Tenant) -> Self:
        return self.filter(tenant=tenant)


class Membership(models.Model):
    """One person in one tenant, with one role. Read before a tenant is known: see RLS_EXEMPT."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, related_name="memberships", db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="memberships"
    )
    role = models.CharField(max_length=12, choices=Role)
    created_at = models.DateTimeField(db_default=Now())

    objects = MembershipQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="membership_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="membership_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant} as {self.role}"

    def may(self, *wanted: Role) -> bool:
        """Whether this membership covers one of the wanted roles."""
        return any(Role(self.role).covers(role) for role in wanted)


class Group(TenantModel):
    """People of one tenant under one name, so that a corpus can be granted to all of them."""

    name = models.CharField(max_length=120)
    follows_provider = models.BooleanField(default=False)  # members are those that sign-in names
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="GroupMember", related_name="groups_in_tenants"
    )

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="group_name_once")]

    def __str__(self) -> str:
        return self.name


class GroupMember(TenantModel):
    """One person in one group."""

    group = models.ForeignKey(
        Group, on_delete=models.CASCADE, related_name="memberships", db_index=False
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "group", "user"], name="group_member_once")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.group}"


class DataKey(TenantModel):
    """One version of a tenant's key, wrapped by the site's (`counterpoint.keys`)."""

    version = models.PositiveIntegerField()
    wrapped = models.BinaryField()
    wrapped_by = models.CharField(max_length=120)  # the id of a site key
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-version"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "version"], name="data_key_version_once")
        ]

    def __str__(self) -> str:
        return f"data key {self.version}"
