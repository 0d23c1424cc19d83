"""Uploaded files become documents: claim one, read it in a confined child, file what it gave.

The item's row is the truth. A message only names where to begin; the worker then goes on with the
upload's next waiting file by itself. A message that comes twice finds nothing to claim.
"""

from __future__ import annotations

import errno
from dataclasses import replace

import structlog
from django.conf import settings

from apps.corpora import actions
from apps.corpora.extraction import LIMITS, Limits, reading
from apps.corpora.models import UploadItem
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
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


def read_one(tenant_id: str, item: UploadItem) -> None:
    """Settle one claimed file: stored, duplicate, unpacked, or rejected with its reason."""
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
