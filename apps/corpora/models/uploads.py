"""One delivery of files into a corpus, and the one outcome of each file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.tenants.models import TenantManager, TenantModel
from calm_engine.errors import InputError
from counterpoint.wording import sentence

if TYPE_CHECKING:
    from apps.accounts.models import User

from apps.corpora.models.corpus import Corpus, OfCorpusQuerySet


@dataclass(frozen=True)
class Tally:
    """The equation of one upload; archives are containers and are not counted themselves."""

    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    in_progress: int = 0
    sending: int = 0  # begun transfers; a file is received when its last byte is

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
    paused_at = models.DateTimeField(null=True, blank=True)  # workers take no more files of it

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
        """Count this upload's files by outcome, in two queries."""
        return tallies([self])[self.pk]


def tallies(uploads: Sequence[Upload]) -> dict[UUID, Tally]:
    """The tally of each of these uploads, in two queries for all of them."""
    rows = UploadItem.objects.filter(upload__in=uploads).order_by()
    ours = Upload.objects.filter(pk__in=[upload.pk for upload in uploads]).order_by()
    sending = dict(ours.values_list("pk").annotate(n=models.Count("transfers")))
    count: dict[UUID, dict[str, int]] = {upload.pk: {} for upload in uploads}
    # Counting rows, not their keys, is answered by the index alone.
    for upload, state, n in rows.values_list("upload", "state").annotate(n=models.Count("*")):
        count[upload][state] = n
    return {
        upload: Tally(
            stored=by_state.get(ItemState.STORED, 0),
            duplicate=by_state.get(ItemState.DUPLICATE, 0),
            rejected=by_state.get(ItemState.REJECTED, 0),
            in_progress=sum(by_state.get(state, 0) for state in IN_PROGRESS),
            sending=sending.get(upload, 0),
        )
        for upload, by_state in count.items()
    }


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
    # Which document this file takes the place of, once it is stored.
    replaces = models.ForeignKey(
        "Document", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(ItemQuerySet)()

    class Meta:
        ordering = ["created_at", "path"]
        indexes = [
            models.Index(fields=["tenant", "upload", "state"], name="item_by_state"),
            models.Index(fields=["tenant", "upload", "created_at", "id"], name="item_by_arrival"),
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
    def root(self) -> UploadItem:
        """The file that was sent, with this one somewhere in it."""
        return self if self.parent is None else self.parent.root

    @property
    def depth(self) -> int:
        """How many containers stand around this file."""
        return 0 if self.parent is None else 1 + self.parent.depth
