"""A body of documents, its owner, and who else has which right on it.

Reading is granted corpus by corpus; no role grants it (`readable_by` is the only place that says
who may).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.corpora.screening import Kind
from apps.tenants.models import Group, TenantManager, TenantModel

if TYPE_CHECKING:
    from apps.accounts.models import User


class Right(models.TextChoices):
    """Separate rights: whoever curates may also read; export takes originals or weights out."""

    READ = "read", _("may read")
    CURATE = "curate", _("may curate")
    EXPORT = "export", _("may export")


class Sensitivity(models.TextChoices):
    PUBLIC = "public", _("public")
    INTERNAL = "internal", _("internal")
    CONFIDENTIAL = "confidential", _("confidential")
    SECRET = "secret", _("secret")


class Policy(models.TextChoices):
    """What a corpus does with personal data or secrets of one group."""

    ALLOW = "allow", _("let it in")
    FLAG = "flag", _("hold the document until a person decided")
    REDACT = "redact", _("black it out in what models learn")
    BLOCK = "block", _("hold the document until it is blacked out")


class CorpusQuerySet(models.QuerySet["Corpus"]):
    def granted(self, user: User, *rights: Right) -> Self:
        """Owned by this person, or granted to them or a group of theirs, with any of `rights`."""
        groups = Group.objects.filter(members=user)
        to_them = Q(user=user) | Q(group__in=groups)
        # Asked corpus by corpus: a question about three of them reads the grants of three.
        grants = CorpusGrant.objects.filter(to_them, corpus=OuterRef("pk"), right__in=rights)
        return self.filter(Q(owner=user) | Exists(grants))

    def readable_by(self, user: User) -> Self:
        return self.granted(user, Right.READ, Right.CURATE)

    def curatable_by(self, user: User) -> Self:
        return self.granted(user, Right.CURATE)

    def exportable_by(self, user: User) -> Self:
        return self.granted(user, Right.EXPORT)

    def visible_to(self, user: User) -> Self:
        return self.readable_by(user)


class Corpus(TenantModel):
    """A named body of documents, with an owner and a list of who else may read it."""

    name = models.CharField(max_length=120)
    description = models.TextField(blank=True, default="")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="corpora"
    )
    sensitivity = models.CharField(max_length=20, choices=Sensitivity, default=Sensitivity.INTERNAL)
    # What becomes of what the detectors find. A new version screens every document again.
    contact_policy = models.CharField(max_length=6, choices=Policy, default=Policy.ALLOW)
    identity_policy = models.CharField(max_length=6, choices=Policy, default=Policy.FLAG)
    secret_policy = models.CharField(max_length=6, choices=Policy, default=Policy.FLAG)
    policy_version = models.PositiveIntegerField(default=1)
    repeats_at = models.DateTimeField(null=True, blank=True)  # when it was last looked for them
    # Days after which a withdrawn document is deleted for good; 0: never by itself.
    withdrawn_days = models.PositiveIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(CorpusQuerySet)()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="corpus_name_once"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("corpora:corpus", kwargs={"code": self.pk})

    def policy_for(self, kind: Kind) -> Policy:
        """What this corpus does with a finding of this kind."""
        return Policy(getattr(self, f"{kind.group.value}_policy"))

    def may(self, user: User, right: Right) -> bool:
        """Whether this person has this right here and now."""
        wide = (Right.READ, Right.CURATE) if right == Right.READ else (right,)
        return Corpus.objects.granted(user, *wide).filter(pk=self.pk).exists()


class OfCorpusQuerySet(models.QuerySet[Any]):
    """Rows that hang on a corpus: visible to whoever may read it."""

    def visible_to(self, user: User) -> Self:
        return self.filter(corpus__in=Corpus.objects.readable_by(user))


class CorpusGrant(TenantModel):
    """One right on one corpus for one person or one group."""

    corpus = models.ForeignKey(Corpus, on_delete=models.CASCADE, related_name="grants")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    group = models.ForeignKey(
        Group, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    right = models.CharField(max_length=10, choices=Right)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(OfCorpusQuerySet)()

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=True, group__isnull=False)
                | Q(user__isnull=False, group__isnull=True),
                name="grant_to_exactly_one",
            ),
            models.UniqueConstraint(
                fields=["tenant", "corpus", "user", "group", "right"],
                name="grant_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user or self.group} {self.right} {self.corpus}"
