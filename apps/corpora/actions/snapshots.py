"""Freezes corpora as an immutable manifest of digests, and tells what the next would change."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Count, F

from apps.audit import actions as audit
from apps.corpora import manifests
from apps.corpora.actions import review
from apps.corpora.actions.access import must
from apps.corpora.actions.differences import Difference, difference
from apps.corpora.actions.splits import Split, slices_of, split_of
from apps.corpora.manifests import Entry
from apps.corpora.models import (
    Corpus,
    Document,
    DocumentState,
    Example,
    Right,
    Snapshot,
    UploadItem,
)
from calm_engine.errors import InputError
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

AT_ONCE = 1_000  # documents that are compared while a page is made
LOOKED = 50_000  # and while somebody waits; beyond, the job compares, and keeps what it found
FROM_ROWS = [each.name for each in fields(Entry) if each.name != "corpus"]


def freeze(
    corpus: Corpus, *further: Corpus, split: Split | None = None, note: str = "", by: User
) -> Snapshot:
    """Fix the ready documents and examples of corpora as a snapshot named by its digest.

    What an earlier snapshot of any of them held out stays held out, so that scores can be compared.
    Freezing what has not changed gives the snapshot that is already there. Raises InputError:
    corpus.empty, corpus.screening, upload.in_progress.
    """
    corpora = in_order(corpus, *further)
    with transaction.atomic(), tempfile.TemporaryDirectory(prefix="freeze-") as folder:
        # Two people freezing at once would both read the earlier split; the second waits here.
        ids = [each.pk for each in corpora]
        list(Corpus.objects.select_for_update().filter(pk__in=ids).order_by("pk"))
        require_settled(corpora, by)
        listed = Path(folder) / "manifest"
        naming, counted = manifests.Naming(), _Counted()
        manifests.write(counted.through(ready(corpora), naming), listed)
        if not counted.documents:
            raise InputError("corpus.empty", corpus=corpora[0].name)
        rest = _rest(corpora, split, counted)
        digest = naming.name(rest)
        known: Snapshot | None = Snapshot.objects.of_exactly(ids).filter(digest=digest).first()
        if known is not None:
            return known
        snapshot: Snapshot = Snapshot.objects.create(
            corpus=corpora[0],
            further=ids[1:],
            digest=digest,
            manifest=rest,
            listed=_stored(listed),
            changes=_since_latest(ids, listed),
            documents=counted.documents,
            tokens=counted.tokens,
            note=note,
            frozen_by=by,
        )
        audit.record("snapshot.freeze", snapshot, by=by, documents=counted.documents)
    return snapshot


def freeze_without(snapshot: Snapshot, originals: Collection[str], *, by: User) -> Snapshot:
    """The same snapshot without these documents, whatever its corpora hold by now.

    Its examples and what they hold out stay as they are. Raises PermissionDenied without the right
    to curate each corpus, InputError("corpus.empty") when no document is left.
    """
    corpora = in_order(*Corpus.objects.filter(pk__in=snapshot.closure))
    for each in corpora:
        must(each, by, Right.CURATE)
    with transaction.atomic(), tempfile.TemporaryDirectory(prefix="freeze-") as folder:
        list(Corpus.objects.select_for_update().filter(pk__in=snapshot.closure).order_by("pk"))
        listed = Path(folder) / "manifest"
        naming, counted = manifests.Naming(), _Counted()
        staying = (e for e in manifests.entries(snapshot) if e.original not in originals)
        manifests.write(counted.through(staying, naming), listed)
        if not counted.documents:
            raise InputError("corpus.empty", corpus=snapshot.names)
        rest = {name: snapshot.manifest[name] for name in ("examples", "split")}
        if len(corpora) > 1:
            rest["parts"] = [[str(each.pk), counted.parts.get(str(each.pk), 0)] for each in corpora]
        made, is_new = Snapshot.objects.get_or_create(
            corpus=snapshot.corpus,
            further=snapshot.further,
            digest=naming.name(rest),
            defaults={
                "manifest": rest,
                "listed": _stored(listed),
                "documents": counted.documents,
                "tokens": counted.tokens or snapshot.tokens,
                "note": f"{snapshot.short} without what is to be forgotten"[:300],
                "frozen_by": by,
            },
        )
        if is_new:
            left = snapshot.documents - counted.documents
            audit.record("snapshot.freeze", made, by=by, of=snapshot.short, left_out=left)
    found: Snapshot = made
    return found


def _stored(listed: Path) -> str:
    with listed.open("rb") as file:
        return blobs().put(manifests.KIND, file).digest


def in_order(*corpora: Corpus) -> list[Corpus]:
    """Each corpus once, by its id: the order of locks and of manifests."""
    return sorted({each.pk: each for each in corpora}.values(), key=lambda each: each.pk)


def require_settled(corpora: Sequence[Corpus], by: User) -> None:
    """Refuse what cannot be frozen now. Raises PermissionDenied and InputError."""
    for each in corpora:
        must(each, by, Right.CURATE)
    waiting = UploadItem.objects.in_progress().filter(upload__corpus__in=corpora).count()
    if waiting:
        raise InputError("upload.in_progress", files=waiting)
    if late := sum(review.behind(each).count() for each in corpora):
        raise InputError("corpus.screening", documents=late)
    if not Document.objects.ready().filter(corpus__in=corpora).exists():
        raise InputError("corpus.empty", corpus=", ".join(each.name for each in corpora))


def ready(corpora: Iterable[Corpus]) -> Iterator[Entry]:
    """The documents that a snapshot would hold, in the order of its manifest; a few at a time."""
    for corpus in corpora:
        rows = (
            corpus.documents.ready()
            .order_by("original_digest")
            .annotate(
                original=F("original_digest"),
                text=F("text_digest"),
                training=Document.TRAINING_DIGEST,
            )
        )
        for each in rows.values(*FROM_ROWS).iterator(chunk_size=manifests.ROWS):
            yield Entry(corpus=str(corpus.pk), **each)


class _Counted:
    """Numbers of the entries that passed by."""

    def __init__(self) -> None:
        self.tokens = 0
        self.parts: dict[str, int] = {}

    @property
    def documents(self) -> int:
        return sum(self.parts.values())

    def through(self, entries: Iterable[Entry], naming: manifests.Naming) -> Iterator[Entry]:
        for entry in entries:
            naming.add(entry)
            self.tokens += entry.tokens
            self.parts[entry.corpus] = self.parts.get(entry.corpus, 0) + 1
            yield entry


def _rest(corpora: list[Corpus], split: Split | None, counted: _Counted) -> dict[str, Any]:
    """The manifest without its documents; one corpus alone is named as it always was."""
    split = split or split_of(corpora)
    slices = slices_of(corpora, split)
    rest: dict[str, Any] = {
        "examples": sorted([digest, where] for digest, where in slices.items()),
        "split": vars(split),
    }
    if len(corpora) > 1:
        rest["parts"] = [[str(each.pk), counted.parts.get(str(each.pk), 0)] for each in corpora]
    return rest


def _since_latest(ids: list[Any], listed: Path) -> dict[str, Any]:
    latest = Snapshot.objects.of_exactly(ids).order_by("-created_at").first()
    if latest is None:
        return {}
    with listed.open("rb") as file:
        found = difference(manifests.entries(latest), manifests.read(file))
    return found.as_json() | {"since": latest.short}


@dataclass(frozen=True)
class Changes:
    """What the next snapshot would change against the latest one of the same corpora.

    documents      None when there are more of them than were to be compared
    is_comparable  whether they could be compared while somebody waits
    """

    documents: Difference | None
    is_comparable: bool
    ready: int
    excluded: int
    held: int
    duplicates: int
    examples_added: int
    examples_removed: int
    waiting: int
    first: bool

    @property
    def any(self) -> bool:
        """Whether anything would be different, as far as was looked."""
        documents = self.documents is None or self.documents.any
        return bool(documents or self.examples_added or self.examples_removed)


def changes(corpus: Corpus, *further: Corpus, up_to: int = LOOKED) -> Changes:
    """Compare the corpora as they stand with their latest snapshot, up to so many documents."""
    corpora = in_order(corpus, *further)
    latest = Snapshot.objects.of_exactly([each.pk for each in corpora]).first()
    documents = Document.objects.filter(corpus__in=corpora)
    count = dict(documents.order_by().values_list("state").annotate(n=Count("*")))
    now = count.get(DocumentState.READY, 0)
    most = max(now, latest.documents if latest else 0)
    asked = {digest for digest, _slice in latest.manifest["examples"]} if latest else set()
    examples = Example.objects.filter(corpus__in=corpora)
    asked_now = set(examples.ready().values_list("digest", flat=True))
    before = manifests.entries(latest) if latest else iter(())
    return Changes(
        documents=difference(before, ready(corpora)) if most <= up_to else None,
        is_comparable=most <= LOOKED,
        ready=now,
        held=count.get(DocumentState.HELD, 0),
        duplicates=count.get(DocumentState.DUPLICATE, 0),
        excluded=count.get(DocumentState.EXCLUDED, 0),
        examples_added=len(asked_now - asked),
        examples_removed=len(asked - asked_now),
        waiting=UploadItem.objects.in_progress().filter(upload__corpus__in=corpora).count(),
        first=latest is None,
    )
