"""What people and workers do with corpora: receive, file, exclude, freeze, export.

Each is one transaction with its audit line inside; bytes are stored before their row is written.
The right on the corpus is checked here, whoever calls; the role is the caller's page's business.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Protocol
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce, Now

from apps.audit import actions as audit
from apps.corpora import parsing
from apps.corpora.examples import NamedFile, row_from, rows_in
from apps.corpora.extraction import LIMITS, Extracted, Inner, Reading
from apps.corpora.models import (
    Corpus,
    CorpusGrant,
    Document,
    DocumentState,
    Example,
    ItemState,
    Right,
    Snapshot,
    Upload,
    UploadItem,
)
from apps.tenants.models import Group
from calm_engine.errors import InputError
from calm_engine.split import split_examples
from counterpoint import live
from counterpoint.celery import send
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

WAKE = 16  # messages sent for one upload: each worker goes on to the next file by itself
ATTEMPTS = 3
LEASE = timedelta(seconds=LIMITS.wall + 180)
LOST_AFTER = timedelta(seconds=45)  # a message for a waiting file is thought lost after this
UPLOAD_FILES = 50_000  # files of one upload, archives unpacked
UPLOAD_BYTES = 20 << 30
SEEN_QUESTIONS = 60  # of those that train the bridges, asked again in the evaluation


class IncomingFile(Protocol):
    """What a web framework or a script hands us: a name, a size and bytes in pieces."""

    @property
    def name(self) -> str | None: ...
    @property
    def size(self) -> int | None: ...
    def chunks(self) -> Iterator[bytes]: ...


def must(corpus: Corpus, by: User, right: Right) -> None:
    """Raise PermissionDenied, naming the right and who can grant it, unless this person has it."""
    if not corpus.may(by, right):
        raise PermissionDenied(
            f"You need the right “{right.label}” on the corpus “{corpus.name}”. "
            f"{corpus.owner.name} can grant it."
        )


# --- corpora and rights ------------------------------------------------------------------------


def create_corpus(
    name: str, *, by: User, description: str = "", sensitivity: str = "internal"
) -> Corpus:
    """Open an empty corpus that its owner alone may read. Raises InputError("corpus.name")."""
    try:
        with transaction.atomic():
            corpus = Corpus.objects.create(
                name=name, description=description, sensitivity=sensitivity, owner=by
            )
            audit.record("corpus.create", corpus, by=by, sensitivity=sensitivity)
    except IntegrityError as error:
        raise InputError("corpus.name", name=name) from error
    return corpus


@transaction.atomic
def grant(corpus: Corpus, to: User | Group, right: str, *, by: User) -> CorpusGrant:
    """Let a person or a group read, curate or export this corpus. Only its owner may."""
    _only_the_owner(corpus, by)
    who = {"group": to} if isinstance(to, Group) else {"user": to}
    given, is_new = CorpusGrant.objects.get_or_create(corpus=corpus, right=Right(right), **who)
    if is_new:
        audit.record("corpus.grant", corpus, by=by, to=str(to.pk), right=given.right)
    return given


@transaction.atomic
def revoke(given: CorpusGrant, *, by: User) -> None:
    """Take one right back; it acts on the next request of whoever had it."""
    _only_the_owner(given.corpus, by)
    to = str(given.user_id or given.group_id)
    audit.record("corpus.revoke", given.corpus, by=by, to=to, right=given.right)
    given.delete()


def _only_the_owner(corpus: Corpus, by: User) -> None:
    if corpus.owner_id != by.pk:
        raise PermissionDenied(
            f"Only {corpus.owner.name}, who owns “{corpus.name}”, sets its access."
        )


# --- uploads -----------------------------------------------------------------------------------


def receive(
    corpus: Corpus,
    files: Iterable[IncomingFile],
    *,
    by: User,
    paths: Iterable[str] = (),
    upload: UUID | None = None,
    source: str = "page",
) -> Upload:
    """Store files and record one item for each, whatever became of it; reading starts on commit.

    paths    where the files stood in a folder; names are used for those without one
    upload   id of the delivery that these files belong to; it is opened when it does not exist yet

    A file that cannot be stored (too large, wrong type, disk full) is recorded as rejected and
    costs the others nothing.
    """
    must(corpus, by, Right.CURATE)
    named = list(paths)
    taken = [
        _taken(file, named[index] if index < len(named) else "") for index, file in enumerate(files)
    ]
    with transaction.atomic():
        delivery = _delivery(corpus, upload, by, source)
        for item in taken:
            item.upload = delivery
        UploadItem.objects.bulk_create(taken)
        rejected = sum(item.state == ItemState.REJECTED for item in taken)
        audit.record("upload.receive", delivery, by=by, files=len(taken), rejected=rejected)
        _wake(taken)
        _tell(delivery.pk)
    return delivery


def _delivery(corpus: Corpus, code: UUID | None, by: User, source: str) -> Upload:
    if code is None:
        return Upload.objects.create(corpus=corpus, by=by, source=source)
    found, _ = Upload.objects.get_or_create(
        pk=code, defaults={"corpus": corpus, "by": by, "source": source}
    )
    if found.corpus_id != corpus.pk or found.by_id != by.pk:
        raise PermissionDenied("This upload was begun by someone else, or for another corpus.")
    return found


def _taken(file: IncomingFile, path: str) -> UploadItem:
    """Store one file's bytes and describe it; a refusal is a description too."""
    told = path or file.name or "file"
    safe = parsing.safe_path(told)
    item = UploadItem(path=(safe or told)[-1000:], size=file.size or 0)
    if safe is None:
        return _refused(item, "file.path")
    kind = parsing.extension(safe)
    if kind not in parsing.MEDIA:
        return _refused(item, "file.type", ending=kind or "no ending")
    if item.size == 0:
        return _refused(item, "file.empty")
    limit = settings.UPLOAD_MAX_BYTES
    if item.size > limit:
        sizes = {"size": f"{item.size >> 20} MB", "limit": f"{limit >> 20} MB"}
        return _refused(item, "file.too_large", **sizes)
    try:
        item.digest = blobs().put("original", file).digest
    except InputError as error:
        if error.code != "disk.full":
            raise
        return _refused(item, "upload.disk_full")
    return item


def _refused(item: UploadItem, code: str, **facts: object) -> UploadItem:
    item.state, item.code, item.facts = ItemState.REJECTED, code, facts
    return item


def _wake(items: Iterable[UploadItem]) -> None:
    """Call workers for the first waiting files; `send` waits for the commit."""
    waiting = [item for item in items if item.state == ItemState.RECEIVED]
    for item in waiting[:WAKE]:
        send("ingestion.extract", str(item.tenant_id), str(item.pk))


def _tell(upload_id: UUID) -> None:
    """Let open pages know that this upload changed, once the change can be seen."""
    transaction.on_commit(lambda: live.publish(f"upload:{upload_id}", {"changed": "items"}))


def begin(item_id: UUID | str) -> UploadItem | None:
    """Claim one waiting file for reading; None when another worker was first or it is settled."""
    moved = UploadItem.objects.filter(pk=item_id, state=ItemState.RECEIVED).update(
        state=ItemState.EXTRACTING, claimed_at=Now(), attempts=F("attempts") + 1
    )
    if moved == 0:
        return None
    item = UploadItem.objects.select_related("upload__corpus", "parent").get(pk=item_id)
    _tell(item.upload_id)
    return item


def begin_next(upload_id: UUID) -> UploadItem | None:
    """Claim the next waiting file of an upload; two workers never get the same."""
    waiting = UploadItem.objects.filter(upload=upload_id, state=ItemState.RECEIVED)
    chosen = waiting.order_by("created_at", "pk").select_for_update(skip_locked=True).first()
    return begin(chosen.pk) if chosen else None


@transaction.atomic
def file_known(item: UploadItem) -> bool:
    """Settle a file whose very bytes the corpus already has; it need not be read again."""
    known = Document.objects.filter(
        corpus=item.upload.corpus_id, original_digest=item.digest
    ).first()
    if known is None:
        return False
    _settle(item, ItemState.DUPLICATE, document=known)
    return True


@transaction.atomic
def file_documents(item: UploadItem, found: Reading) -> None:
    """Record what one file gave: its document, its inner files, or both, all or nothing.

    Does nothing when the item was settled meanwhile by another worker.
    """
    ours = UploadItem.objects.filter(pk=item.pk, state=ItemState.EXTRACTING)
    if not ours.select_for_update().exists():
        return
    if found.is_container:
        _settle(item, ItemState.CONTAINER)
    for extracted in found.documents:
        document, is_new = _document(item, extracted)
        state = ItemState.STORED if is_new else ItemState.DUPLICATE
        _settle(item, state, document=document)
    _add_inner(item, found.inner)


def _document(item: UploadItem, extracted: Extracted) -> tuple[Document, bool]:
    text = extracted.text.encode()
    stored = blobs().put("text", io.BytesIO(text))
    return Document.objects.get_or_create(
        corpus=item.upload.corpus,
        original_digest=item.digest,
        defaults={
            "title": extracted.title,
            "path": item.path,
            "media_type": extracted.media_type,
            "size": item.size,
            "text_digest": stored.digest,
            "tokens": -(-len(text) // 4),
            "language": extracted.language,
            "facts": extracted.facts,
        },
    )


def _settle(item: UploadItem, state: ItemState, **values: object) -> None:
    """Move a claimed file to its outcome; one that another worker settled stays as it is."""
    if UploadItem.objects.move(item.pk, ItemState.EXTRACTING, state, **values):
        _tell(item.upload_id)


def _add_inner(item: UploadItem, inner: list[Inner]) -> None:
    """One item for each inner file. Raises InputError("archive.bomb") past the upload's caps."""
    so_far = UploadItem.objects.filter(upload=item.upload_id).aggregate(
        bytes=Coalesce(Sum("size"), 0), files=Coalesce(Sum(1), 0)
    )
    if so_far["files"] + len(inner) > UPLOAD_FILES:
        raise InputError("archive.bomb", limit=f"{UPLOAD_FILES} files in one upload")
    sizes = sum(i.file.stat().st_size for i in inner if i.file)
    if so_far["bytes"] + sizes > UPLOAD_BYTES:
        raise InputError("archive.bomb", limit=f"{UPLOAD_BYTES >> 30} GB in one upload")
    children = [_child(item, one) for one in inner]
    UploadItem.objects.bulk_create(children)
    _wake(children)


def _child(item: UploadItem, inner: Inner) -> UploadItem:
    child = UploadItem(upload=item.upload, parent=item, path=f"{item.path}/{inner.path}"[-1000:])
    if inner.file is None:
        return _refused(child, inner.code, **inner.facts)
    kind = parsing.extension(inner.path)
    child.size = inner.file.stat().st_size
    if kind in (*parsing.ARCHIVES, "eml") and item.depth + 1 >= LIMITS.depth:
        return _refused(child, "archive.nested", depth=LIMITS.depth)
    with inner.file.open("rb") as file:
        return _stored_child(child, kind, file)


def _stored_child(child: UploadItem, kind: str, file: BinaryIO) -> UploadItem:
    if kind not in parsing.MEDIA:
        return _refused(child, "file.type", ending=kind or "no ending")
    if child.size == 0:
        return _refused(child, "file.empty")
    child.digest = blobs().put("original", file).digest
    return child


@transaction.atomic
def reject(item: UploadItem, code: str, **facts: object) -> None:
    """Settle one file as refused, with the code and facts that its sentence is made from."""
    _settle(item, ItemState.REJECTED, code=code, facts=facts)


def retriable(upload: Upload) -> Any:
    """The rejected files whose bytes we have: only those can be read once more."""
    return upload.items.filter(state=ItemState.REJECTED).exclude(digest="")


@transaction.atomic
def retry(upload: Upload, *, by: User) -> int:
    """Read the rejected files of an upload once more; finished ones are left alone."""
    must(upload.corpus, by, Right.CURATE)
    again = list(retriable(upload).select_for_update())
    for item in again:
        item.state, item.code, item.facts, item.attempts = ItemState.RECEIVED, "", {}, 0
    UploadItem.objects.bulk_update(again, ["state", "code", "facts", "attempts"])
    if again:
        audit.record("upload.retry", upload, by=by, files=len(again))
        _wake(again)
        _tell(upload.pk)
    return len(again)


@transaction.atomic
def reconcile() -> int:
    """Pick up this tenant's files that were left behind: workers killed, messages lost.

    Returns how many files were put back or woken. Runs under the tenant's scope.
    """
    expired = UploadItem.objects.filter(state=ItemState.EXTRACTING, claimed_at__lt=Now() - LEASE)
    given_up = expired.filter(attempts__gte=ATTEMPTS).update(
        state=ItemState.REJECTED, code="extract.failed", facts={"attempts": ATTEMPTS}
    )
    put_back = expired.filter(attempts__lt=ATTEMPTS).update(state=ItemState.RECEIVED)
    waiting = UploadItem.objects.filter(
        Q(claimed_at__isnull=False) | Q(created_at__lt=Now() - LOST_AFTER),
        state=ItemState.RECEIVED,
    )
    _wake(waiting.order_by("created_at")[:WAKE])
    return given_up + put_back


# --- documents ---------------------------------------------------------------------------------


def text_of(document: Document) -> str:
    """The whole extracted text, from storage."""
    with blobs().open("text", document.text_digest) as file:
        return file.read().decode()


@transaction.atomic
def exclude(document: Document, *, by: User) -> None:
    """Leave a document out of the next snapshot. What models already learned stays learned."""
    _set_state(document, DocumentState.READY, DocumentState.EXCLUDED, "document.exclude", by)


@transaction.atomic
def include(document: Document, *, by: User) -> None:
    """Take a document that was left out into the next snapshot again."""
    _set_state(document, DocumentState.EXCLUDED, DocumentState.READY, "document.include", by)


def _set_state(document: Document, old: str, new: str, action: str, by: User) -> None:
    must(document.corpus, by, Right.CURATE)
    moved = Document.objects.filter(pk=document.pk, state=old).update(state=new)
    if moved:
        audit.record(action, document, by=by)


# --- examples ----------------------------------------------------------------------------------


@dataclass
class ExampleReceipt:
    """What became of a delivery of examples. `rejected` holds (row number, reason)."""

    added: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)


def add_examples(
    corpus: Corpus, rows: NamedFile | Iterable[dict[str, Any]], *, by: User
) -> ExampleReceipt:
    """Add questions and answers from a CSV or JSON lines file, or from plain rows.

    Raises InputError: examples.type, examples.columns, file.too_large.
    """
    must(corpus, by, Right.CURATE)
    receipt = ExampleReceipt()
    wanted: dict[str, Example] = {}
    for number, values in rows_in(rows):
        if isinstance(values, str):
            receipt.rejected.append((number, values))
            continue
        try:
            row = row_from(values)
        except ValueError as error:
            receipt.rejected.append((number, str(error)))
            continue
        receipt.duplicates += row.digest in wanted
        wanted[row.digest] = Example(corpus=corpus, digest=row.digest, added_by=by, **vars(row))
    with transaction.atomic():
        known = set(
            corpus.examples.filter(digest__in=list(wanted)).values_list("digest", flat=True)
        )
        new = [example for digest, example in wanted.items() if digest not in known]
        Example.objects.bulk_create(new, ignore_conflicts=True, batch_size=500)
        receipt.duplicates += len(known)
        receipt.added = len(new)
        audit.record("examples.add", corpus, by=by, added=len(new), rejected=len(receipt.rejected))
    return receipt


# --- snapshots ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """How examples are held out: shares of entities, and of values among those."""

    seed: int = 0
    entity_share: float = 0.3
    value_share: float = 1 / 3


def freeze(corpus: Corpus, *, split: Split | None = None, note: str = "", by: User) -> Snapshot:
    """Fix the corpus's ready documents and examples as a snapshot named by its digest.

    What an earlier snapshot held out stays held out, so that scores can be compared. Freezing an
    unchanged corpus gives the snapshot that is already there. Raises InputError: corpus.empty,
    upload.in_progress.
    """
    must(corpus, by, Right.CURATE)
    with transaction.atomic():
        # Two people freezing at once would both read the earlier split; the second waits here.
        Corpus.objects.select_for_update().get(pk=corpus.pk)
        waiting = UploadItem.objects.in_progress().filter(upload__corpus=corpus).count()
        if waiting:
            raise InputError("upload.in_progress", files=waiting)
        documents = list(corpus.documents.ready().order_by("original_digest"))
        if not documents:
            raise InputError("corpus.empty", corpus=corpus.name)
        manifest = _manifest(corpus, documents, split)
        snapshot, is_new = Snapshot.objects.get_or_create(
            corpus=corpus,
            digest=_digest(manifest),
            defaults={
                "manifest": manifest,
                "documents": len(documents),
                "tokens": sum(document.tokens for document in documents),
                "note": note,
                "frozen_by": by,
            },
        )
        if is_new:
            audit.record("snapshot.freeze", snapshot, by=by, documents=len(documents))
    return snapshot


def _manifest(corpus: Corpus, documents: list[Document], split: Split | None) -> dict[str, Any]:
    split = split or _split_of(corpus)
    slices = _slices(corpus, split)
    return {
        "documents": [[d.original_digest, d.text_digest, d.title] for d in documents],
        "examples": sorted([digest, where] for digest, where in slices.items()),
        "split": vars(split),
    }


def _split_of(corpus: Corpus) -> Split:
    """The split of the latest snapshot, or the default: unchanged corpora stay unchanged."""
    latest = corpus.snapshots.order_by("-created_at").first()
    return Split(**latest.manifest["split"]) if latest else Split()


def _digest(manifest: dict[str, Any]) -> str:
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def as_row(example: Example) -> dict[str, str]:
    """One example as the engine reads it; its id is its digest."""
    names = ("question", "answer", "expected", "kind", "entity", "value")
    return {"id": example.digest} | {name: getattr(example, name) for name in names}


def _slices(corpus: Corpus, split: Split) -> dict[str, str]:
    """Where each ready example belongs: {digest: "bridge" | "unseen_entity" | "unseen_value"}."""
    examples = list(corpus.examples.ready())
    fresh = split_examples(
        [as_row(example) for example in examples],
        seed=split.seed,
        entity_share=split.entity_share,
        value_share=split.value_share,
    )
    return _kept_apart(examples, dict(fresh), _earlier_slices(corpus))


def _earlier_slices(corpus: Corpus) -> dict[str, str]:
    """What was decided first for each example that any snapshot holds; it is never moved."""
    earlier: dict[str, str] = {}
    for manifest in corpus.snapshots.order_by("-created_at").values_list("manifest", flat=True):
        earlier.update(dict(manifest["examples"]))
    return earlier


def _kept_apart(
    examples: list[Example], fresh: dict[str, str], earlier: dict[str, str]
) -> dict[str, str]:
    """The new split, bent so that nothing once held out is trained on, and nothing seen is asked
    as if unseen."""
    known = [e for e in examples if e.digest in earlier]
    hidden = {_name(e.entity) for e in known if earlier[e.digest] != "bridge"} - {""}
    seen = {_name(e.entity) for e in known if earlier[e.digest] == "bridge"} - {""}
    held = {_name(e.value) for e in known if earlier[e.digest] == "unseen_value"} - {""}
    slices: dict[str, str] = {}
    for e in examples:
        where = fresh[e.digest]
        if e.digest in earlier:
            where = earlier[e.digest]
        elif _name(e.value) in held:
            where = "unseen_value"
        elif _name(e.entity) in hidden and where == "bridge":
            where = "unseen_entity"
        elif _name(e.entity) in seen:
            where = "bridge"
        slices[e.digest] = where
    taught = {_name(e.value) for e in examples if slices[e.digest] == "bridge"}
    for e in examples:
        if (
            slices[e.digest] == "unseen_value"
            and e.digest not in earlier
            and _name(e.value) in taught
        ):
            slices[e.digest] = "unseen_entity"
    return slices


def _name(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True)
class Changes:
    """What the next snapshot would change against the latest one."""

    added: int
    removed: int
    kept: int
    excluded: int
    examples_added: int
    examples_removed: int
    waiting: int
    first: bool

    @property
    def any(self) -> bool:
        return bool(self.added or self.removed or self.examples_added or self.examples_removed)


def changes(corpus: Corpus) -> Changes:
    """Compare the corpus as it stands with its latest snapshot."""
    latest = corpus.snapshots.order_by("-created_at").first()
    manifest = latest.manifest if latest else {"documents": [], "examples": []}
    before = {(digest, text) for digest, text, _title in manifest["documents"]}
    now = set(corpus.documents.ready().values_list("original_digest", "text_digest"))
    asked = {digest for digest, _slice in manifest["examples"]}
    asked_now = set(corpus.examples.ready().values_list("digest", flat=True))
    return Changes(
        added=len(now - before),
        removed=len(before - now),
        kept=len(now & before),
        excluded=corpus.documents.filter(state=DocumentState.EXCLUDED).count(),
        examples_added=len(asked_now - asked),
        examples_removed=len(asked - asked_now),
        waiting=UploadItem.objects.in_progress().filter(upload__corpus=corpus).count(),
        first=latest is None,
    )


@dataclass(frozen=True)
class SnapshotFiles:
    """A snapshot as the engine reads it: three files of JSON lines."""

    documents: Path
    bridge_examples: Path
    held_out: Path


def export_snapshot(snapshot: Snapshot, folder: Path) -> SnapshotFiles:
    """Write a snapshot's documents, bridge examples and held-out questions into `folder`.

    documents        {"digest", "title", "text"}
    bridge_examples  {"id", "question", "answer", "expected", "kind", "entity", "value"}
    held_out         the same with "slice"; a few bridge examples stand there too, as "seen"
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = SnapshotFiles(
        folder / "documents.jsonl", folder / "bridge_examples.jsonl", folder / "held_out.jsonl"
    )
    with files.documents.open("w", encoding="utf-8") as out:
        for digest, text_digest, title in snapshot.manifest["documents"]:
            with blobs().open("text", text_digest) as file:
                text = file.read().decode()
            _write(out, {"digest": digest, "title": title, "text": text})
    slices = dict(snapshot.manifest["examples"])
    rows = Example.objects.filter(corpus=snapshot.corpus_id, digest__in=list(slices))
    examples = {example.digest: as_row(example) for example in rows}
    taught = [digest for digest in sorted(slices) if slices[digest] == "bridge"]
    held = [digest for digest in sorted(slices) if slices[digest] != "bridge"]
    with files.bridge_examples.open("w", encoding="utf-8") as out:
        for digest in taught:
            _write(out, examples[digest])
    with files.held_out.open("w", encoding="utf-8") as out:
        for digest in taught[:SEEN_QUESTIONS]:
            _write(out, examples[digest] | {"slice": "seen"})
        for digest in held:
            _write(out, examples[digest] | {"slice": slices[digest]})
    return files


def _write(out: IO[str], row: dict[str, str]) -> None:
    out.write(json.dumps(row, ensure_ascii=False) + "\n")
