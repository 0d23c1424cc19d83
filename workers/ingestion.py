"""Uploaded files become documents: claim one, read it in a confined child, file what it gave.

The item's row is the truth. A message only names where to begin; the worker then goes on with the
upload's next waiting file by itself. A message that comes twice finds nothing to claim.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied

from apps.corpora import actions
from apps.corpora.extraction import LIMITS, Limits, reading
from apps.corpora.models import Passage, Snapshot, UploadItem
from apps.registry import artifacts, embedders, hosts
from apps.registry.models import Anchor
from apps.tenants.scope import tenant_scope
from calm_engine.errors import EngineError, InputError, InternalError
from counterpoint.plaincopies import plain_copy
from counterpoint.storage import blobs
from workers import task

log = structlog.get_logger(__name__)

FILES = 200  # of one upload, read for one message: a worker is never held for ever


@task("ingestion.extract", queue="ingest")
def extract(tenant_id: str, item_id: str) -> None:
    """Read one file, then the upload's next ones, each in short transactions of its own."""
    with tenant_scope(tenant_id):
        item = actions.begin(item_id)
    for left in reversed(range(FILES)):
        if item is None:
            return
        read_one(tenant_id, item)
        with tenant_scope(tenant_id):
            if left:
                item = actions.begin_next(item.upload_id)
            else:  # nothing is claimed that is not read: the rest is for the next message
                actions.call_for(item.upload_id)


@task("ingestion.screen", queue="ingest")
def screen(tenant_id: str, corpus_id: str) -> None:
    """Screen a corpus's documents again under its new policies, some at a time."""
    while True:
        with tenant_scope(tenant_id):
            if actions.screen_again(corpus_id) == 0:
                return


@task("ingestion.freeze", queue="ingest")
def freeze(tenant_id: str, order_id: str) -> None:
    """Carry out one order to freeze, then count its tokens for each anchor."""
    with tenant_scope(tenant_id):
        order = actions.claim_freezing(order_id)
    if order is None:
        return
    with tenant_scope(tenant_id):
        snapshot = actions.carry_out(order)
    if snapshot is not None:
        count_tokens(tenant_id, str(snapshot.pk))


@task("ingestion.count", queue="ingest")
def count_tokens(tenant_id: str, snapshot_id: str) -> None:
    """Count a snapshot's tokens by the tokenizer of each anchor, in pieces; goes on if broken."""
    with tenant_scope(tenant_id):
        anchors = {anchor.digest: anchor for anchor in Anchor.objects.all()}
        snapshot = Snapshot.objects.get(pk=snapshot_id)
        actions.begin_counts(snapshot, [(pk, str(anchor)) for pk, anchor in anchors.items()])
    for digest, anchor in anchors.items():
        with tenant_scope(tenant_id):
            count = token_counter(artifacts.path(anchor))
        is_more = count is not None
        while is_more and count is not None:
            with tenant_scope(tenant_id):
                is_more = actions.count_some(snapshot_id, digest, count)


def token_counter(folder: Path) -> Callable[[list[str]], int] | None:
    """Counts texts as the model in this folder reads them; None when it has no fast tokenizer."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - compiled, and used by this task alone

    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(file))

    def count(texts: list[str]) -> int:
        found = (tokenizer.encode(text, add_special_tokens=False) for text in texts)
        return sum(len(each) for each in found)

    return count


@task("ingestion.synchronise", queue="ingest")
def synchronise(tenant_id: str, connection_id: str) -> None:
    """Bring what is new or changed in a place outside into its corpus, a batch at a time."""
    with tenant_scope(tenant_id):
        connection = actions.claim_connection(connection_id)
    if connection is None:
        return
    refused = None
    try:
        with tenant_scope(tenant_id):
            round_ = actions.Synchronisation(connection)
        is_more = True
        while is_more:
            with tenant_scope(tenant_id):
                is_more = round_.step()
    except (InputError, PermissionDenied) as error:
        refused = actions.refusal_of(error)
        log.info("source.refused", connection=connection_id, code=refused.code)
    with tenant_scope(tenant_id):
        actions.finish_synchronising(connection, refused)


@task("ingestion.repeats", queue="ingest")
def repeats(tenant_id: str, corpus_id: str) -> None:
    """Look for paragraphs that many documents of a corpus share; once more changes nothing."""
    looking, is_more = actions.Looking(corpus_id), True
    while is_more:
        with tenant_scope(tenant_id):
            is_more = looking.step()
    with tenant_scope(tenant_id):
        looking.finish()


@task("ingestion.embed", queue="ingest")
def embed(tenant_id: str, embedder_id: str) -> None:
    """Have the embedder in use read the passages that it has not read, as long as it is served."""
    with tenant_scope(tenant_id):
        is_ours = embedders.begin_reading(embedder_id)
    while is_ours:
        with tenant_scope(tenant_id):
            reader = embedders.go_on_reading(embedder_id)
            passages = actions.unread_passages(reader.digest) if reader else []
        is_ours = reader is not None and embed_some(tenant_id, reader, passages)
        if not is_ours:
            with tenant_scope(tenant_id):
                embedders.end_reading(embedder_id)


def embed_some(tenant_id: str, reader: embedders.Reader, passages: Sequence[Passage]) -> bool:
    """Read these; False when there are none or the model server fails: housekeeping calls again."""
    if not passages:
        return False
    try:
        vectors = embedders.vectors_of(reader, [passage.body for passage in passages])
    except (hosts.Refusal, EngineError) as error:
        log.warning("embedder.passages", embedder=reader.name, error=type(error).__name__)
        return False
    with tenant_scope(tenant_id):
        pairs = zip((passage.pk for passage in passages), vectors, strict=True)
        actions.keep_vectors(list(pairs), reader.digest)
    return True


def read_one(tenant_id: str, item: UploadItem) -> None:
    """Settle one claimed file: stored, duplicate, unpacked, or rejected with its reason.

    A file whose reader was ended from outside goes back, for another to try.
    """
    with tenant_scope(tenant_id):
        if actions.file_known(item):
            return
        original = blobs().open("original", item.digest)
    try:
        # No transaction is open while the child reads: it may take minutes.
        with (
            plain_copy(original, tenant_id) as path,
            reading(path, item.path, limits=limits(), scratch=path.parent) as found,
            tenant_scope(tenant_id),
        ):
            actions.file_documents(item, found)
    except InputError as refused:
        _reject(tenant_id, item, refused)
    except InternalError as error:
        if error.code != "extract.killed":
            raise
        log.warning("reader.killed", item=str(item.pk), attempt=item.attempts)
        with tenant_scope(tenant_id):
            actions.put_back(item)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _reject(tenant_id, item, InputError("upload.disk_full"))


def limits() -> Limits:
    """What one file may cost; its size is this site's setting."""
    return replace(LIMITS, file=settings.UPLOAD_MAX_BYTES)


def _reject(tenant_id: str, item: UploadItem, refused: InputError) -> None:
    code = "upload.disk_full" if refused.code == "disk.full" else refused.code
    log.info("file.rejected", item=str(item.pk), code=code, detail=refused.facts.get("detail"))
    with tenant_scope(tenant_id):
        actions.reject(item, code, **{name: str(fact) for name, fact in refused.facts.items()})
