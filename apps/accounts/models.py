"""People and their keys. Knows tenants, but not what a person may do in one."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from apps.tenants.models import Group, Tenant, TenantModel


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, *, name: str = "") -> User:
        """A new person; an address is one person's, however it is written."""
        user = self.model(email=email.strip().lower(), name=name or email.partition("@")[0])
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser):
    """A person who signs in by mail address. Deactivated, never deleted: the audit names them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120)
    is_active = models.BooleanField(default=True)
    # The person who answers for a service account; without them it is dead. Empty for people.
    answers = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="service_accounts"
    )
    # Somebody else chose the password: it opens nothing but the page that changes it.
    must_change_password = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_full_name(self) -> str:
        return self.name

    @property
    def is_service(self) -> bool:
        """A program's account: it holds keys and grants, and never signs in."""
        return self.answers_id is not None


class Scope(models.TextChoices):
    """What a key is good for, at most."""

    MODELS = "models", _("list models")
    CHAT = "chat", _("ask models")
    SCIM = "scim", _("keep people and groups for a directory (SCIM)")


def every_scope() -> list[str]:
    """What a key is good for when nothing else is said: never the directory's work."""
    return [Scope.MODELS, Scope.CHAT]


class ApiKey(models.Model):
    """A key for programs: looked up by its prefix, kept as a digest, never wider than its owner."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_keys")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, unique=True)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    scopes = ArrayField(models.CharField(max_length=12, choices=Scope), default=every_scope)
    only_models = ArrayField(models.CharField(max_length=120), default=list)  # empty: no bound
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} (cp_{self.prefix}_…)"

    def is_usable(self, now: datetime) -> bool:
        return self.revoked_at is None and now < self.expires_at and self.user.is_active

    def may_name(self, model: str) -> bool:
        """Whether this key was made for that model: "name" or "name@3"."""
        name, at, version = model.rpartition("@")
        plain = name if at and version.isdecimal() else model
        return not self.only_models or plain in self.only_models or model in self.only_models


class Provisioned(TenantModel):
    """A person whom the tenant's directory keeps, by SCIM.

    active    whether they are a member now
    role      what they were when they were deactivated, to come back to
    resource  what the directory told of them and we have no column for
    """

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    external_id = models.CharField(max_length=200, blank=True)
    active = models.BooleanField()
    role = models.CharField(max_length=12, blank=True)
    resource = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="provisioned_once")]

    def __str__(self) -> str:
        return f"{self.user_id} by directory"


class ProvisionedGroup(TenantModel):
    """A group that the tenant's directory keeps, by SCIM."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="+")
    resource = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "group"], name="provisioned_group_once")
        ]

    def __str__(self) -> str:
        return f"{self.group_id} by directory"


class Quota(TenantModel):
    """So much of something within its period, for a person, a group together, or the tenant."""

    class Kind(models.TextChoices):
        REQUESTS = "requests", _("questions a minute")
        TOKENS = "tokens", _("tokens a day")
        GPU_MINUTES = "gpu_minutes", _("accelerator minutes a month")
        STORAGE = "storage", _("megabytes stored")

    kind = models.CharField(max_length=12, choices=Kind)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    group = models.ForeignKey(
        Group, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    amount = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["kind", "created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(user=None) | models.Q(group=None), name="quota_of_one"
            ),
            models.UniqueConstraint(
                fields=["tenant", "kind", "user", "group"],
                name="quota_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.get_kind_display()} for {self.user or self.group or 'all'}"
