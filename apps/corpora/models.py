"""Corpora, what was delivered into them, the documents that came of it, and frozen snapshots.

Reading is granted corpus by corpus; no role grants it (`readable_by` is the only place that says
who may). Texts and originals live in storage under their digests; rows hold names and numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.tenants.models import Group, TenantManager, TenantModel
from calm_engine.errors import InputError
from calm_engine.wording import sentence

if TYPE_CHECKING:
    from uuid import UUID

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


class CorpusQuerySet(models.QuerySet["Corpus"]):
    def granted(self, user: User, *rights: Right) -> Self:
        """Owned by this person, or granted to them or a group of theirs, with any of `rights`."""
        groups = Group.objects.filter(members=user)
        to_them = Q(user=user) | Q(group__in=groups)
        grants = CorpusGrant.objects.filter(to_them, right__in=rights)
        return self.filter(Q(owner=user) | Q(pk__in=grants.values("corpus_id")))

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


@dataclass(frozen=True)
class Tally:
    """The equation of one upload; archives are containers and are not counted themselves."""

    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    in_progress: int = 0

    @property
    def received(self) -> int:
        return self.stored + self.duplicate + self.rejected + self.in_progress

    @property
    def done(self) -> int:
        return self.received - self.in_progress


class Upload(TenantModel):
    """One delivery of files into a corpus. What became of each file stands in its items."""

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="uploads")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    source = models.CharField(max_length=40, default="page")  # where it came from: page, demo, api
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(OfCorpusQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["tenant", "corpus", "-created_at"], name="upload_by_corpus")
        ]

    def __str__(self) -> str:
        return f"{self.corpus}, {self.created_at:%Y-%m-%d %H:%M}"

    def get_absolute_url(self) -> str:
        return reverse("corpora:upload", kwargs={"code": self.pk})

    def tally(self) -> Tally:
        """Count this upload's files by outcome, in one query."""
        rows = self.items.order_by().values_list("state").annotate(n=models.Count("pk"))
        count = dict(rows)
        return Tally(
            stored=count.get(ItemState.STORED, 0),
            duplicate=count.get(ItemState.DUPLICATE, 0),
            rejected=count.get(ItemState.REJECTED, 0),
            in_progress=sum(count.get(state, 0) for state in IN_PROGRESS),
        )


class ItemState(models.TextChoices):
    RECEIVED = "received", _("received")
    EXTRACTING = "extracting", _("being read")
    STORED = "stored", _("stored")
    DUPLICATE = "duplicate", _("duplicate")
    REJECTED = "rejected", _("rejected")
    CONTAINER = "container", _("unpacked")


IN_PROGRESS = (ItemState.RECEIVED, ItemState.EXTRACTING)


class ItemQuerySet(models.QuerySet["UploadItem"]):
    def visible_to(self, user: User) -> Self:
        return self.filter(upload__corpus__in=Corpus.objects.readable_by(user))

    def in_progress(self) -> Self:
        return self.filter(state__in=IN_PROGRESS)

    def files(self) -> Self:
        """What is counted: every file, but not the archives that held them."""
        return self.exclude(state=ItemState.CONTAINER)

    def move(self, item_id: UUID, old: ItemState, new: ItemState, **values: object) -> bool:
        """Compare and set: True when this call moved the row, False when another was first."""
        return self.filter(pk=item_id, state=old).update(state=new, **values) == 1


class UploadItem(TenantModel):
    """One file of an upload, and exactly one outcome for it.

    parent   the archive or mail that it came out of
    digest   of the stored bytes; "" when they were never stored
    code     why it was rejected; worded by `reason`
    """

    upload = models.ForeignKey(Upload, on_delete=models.PROTECT, related_name="items")
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="inner"
    )
    path = models.CharField(max_length=1000)
    size = models.BigIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True, default="")
    state = models.CharField(max_length=12, choices=ItemState, default=ItemState.RECEIVED)
    code = models.CharField(max_length=40, blank=True, default="")
    facts = models.JSONField(default=dict, blank=True)
    document = models.ForeignKey(
        "Document", on_delete=models.PROTECT, null=True, blank=True, related_name="items"
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(ItemQuerySet)()

    class Meta:
        ordering = ["created_at", "path"]
        indexes = [
            models.Index(fields=["tenant", "upload", "state"], name="item_by_state"),
            models.Index(
                fields=["tenant", "created_at"],
                condition=Q(state__in=["received", "extracting"]),
                name="item_in_progress",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=(Q(state="rejected") & ~Q(code="")) | (~Q(state="rejected") & Q(code="")),
                name="item_code_iff_rejected",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["stored", "duplicate"], document__isnull=False)
                | (~Q(state__in=["stored", "duplicate"]) & Q(document__isnull=True)),
                name="item_document_iff_kept",
            ),
        ]

    def __str__(self) -> str:
        return self.path

    @property
    def look(self) -> str:
        """The badge that this state wears on pages."""
        looks = {ItemState.EXTRACTING: "busy", ItemState.STORED: "ok", ItemState.REJECTED: "bad"}
        return looks.get(ItemState(self.state), "off")

    @property
    def reason(self) -> str:
        """Why this file was rejected and what to do, as a sentence; "" when it was not."""
        return sentence(InputError(self.code, **self.facts)) if self.code else ""

    @property
    def depth(self) -> int:
        """How many containers stand around this file."""
        return 0 if self.parent is None else 1 + self.parent.depth


class DocumentState(models.TextChoices):
    READY = "ready", _("ready")
    EXCLUDED = "excluded", _("left out")
    WITHDRAWN = "withdrawn", _("withdrawn")


class DocumentQuerySet(OfCorpusQuerySet):
    def ready(self) -> Self:
        return self.filter(state=DocumentState.READY)


class Document(TenantModel):
    """One text with its original. The same bytes stand in a corpus once."""

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="documents")
    title = models.CharField(max_length=200)
    path = models.CharField(max_length=1000)
    media_type = models.CharField(max_length=100)
    size = models.BigIntegerField(default=0)
    original_digest = models.CharField(max_length=64)
    text_digest = models.CharField(max_length=64)
    tokens = models.PositiveIntegerField(default=0)  # an estimate: four bytes of UTF-8 a token
    language = models.CharField(max_length=8, blank=True, default="")
    facts = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=10, choices=DocumentState, default=DocumentState.READY)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(DocumentQuerySet)()

    class Meta:
        ordering = ["path", "created_at"]
        indexes = [models.Index(fields=["tenant", "corpus", "state"], name="document_by_state")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "corpus", "original_digest"], name="document_once_per_corpus"
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("corpora:document", kwargs={"code": self.pk})

    @property
    def look(self) -> str:
        """The badge that this state wears on pages."""
        looks = {DocumentState.READY: "ok", DocumentState.EXCLUDED: "warn"}
        return looks.get(DocumentState(self.state), "off")


class ExampleQuerySet(OfCorpusQuerySet):
    def ready(self) -> Self:
        return self.filter(excluded=False)


class Example(TenantModel):
    """A question with the answer a curator wants. Never edited: snapshots name it by digest."""

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="examples")
    digest = models.CharField(max_length=64)
    question = models.TextField()
    answer = models.TextField()
    expected = models.TextField()
    entity = models.CharField(max_length=200, blank=True, default="")
    value = models.CharField(max_length=200, blank=True, default="")
    kind = models.CharField(max_length=60, default="recall")
    excluded = models.BooleanField(default=False)
    added_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(ExampleQuerySet)()

    class Meta:
        ordering = ["created_at", "digest"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "corpus", "digest"], name="example_once_per_corpus"
            ),
        ]

    def __str__(self) -> str:
        return self.question


class Snapshot(TenantModel):
    """A corpus as it was when frozen: a manifest of digests, named by its own digest. Immutable.

    manifest  {"documents": [[digest, text digest, title], ...], "examples": [[digest, slice], ...],
              "split": {"seed", "entity_share", "value_share"}}
    """

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="snapshots")
    digest = models.CharField(max_length=64)
    manifest = models.JSONField()
    documents = models.PositiveIntegerField()
    tokens = models.PositiveBigIntegerField()
    note = models.CharField(max_length=300, blank=True, default="")
    frozen_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(OfCorpusQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "corpus", "digest"], name="snapshot_once_per_corpus"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.corpus} {self.short}"

    @property
    def short(self) -> str:
        return self.digest[:12]

    def get_absolute_url(self) -> str:
        return reverse("corpora:snapshot", kwargs={"code": self.pk})
