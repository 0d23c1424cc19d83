"""Takes a model's weights out of the site as a tar file, made while it is sent.

Only for whoever may export every corpus that the model learned from, with a second person where the
tenant asks for one, and never while it is barred. The right is asked again while the file is on its
way; a file that breaks off has no end, and unpacks with an error. The anchor is public and stays.
"""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import transaction

from apps.audit import approvals
from apps.audit.actions import record
from apps.audit.models import Approval
from apps.registry import artifacts, closure
from apps.registry.models import Augmenter, Composition
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint import live
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

PIECE = 1 << 20  # bytes
ASKED_EVERY = 64  # pieces between two looks at the right
Model = Composition | Augmenter


def begin(model: Model, *, by: User, reason: str) -> AsyncIterator[bytes]:
    """Write down that the weights leave, then give the tar. In the tenant's scope.

    Raises InputError as `agree` does.
    """
    parts = agree(model, by=by, reason=reason)
    folders = [(name, artifacts.path(each)) for name, each in parts]
    return sent(tarred(about(model, parts), folders), model, by)


def agree(model: Model, *, by: User, reason: str) -> list[tuple[str, Model]]:
    """Whether the weights may leave, written down: name and owner of each folder that goes.

    Raises InputError: "reason.missing", "export.right", "export.barred", "export.missing",
    "approval.needed", "approval.closure".
    """
    if not reason.strip():
        raise InputError("reason.missing")
    if lacking := closure.not_exportable(by, model):
        raise InputError("export.right", names=", ".join(lacking))
    if is_barred(model):
        raise InputError("export.barred", name=str(model))
    parts = parts_of(model)
    if not all(blobs().exists(artifacts.KINDS[type(each)], each.digest) for _, each in parts):
        raise InputError("export.missing", name=str(model))
    with transaction.atomic():
        approved = approvals.spend(Approval.Kind.EXPORT, model, by=by)
        second = approved.decided_by if approved else None
        if second is not None and not may_read(second, model):
            raise InputError("approval.closure", name=str(model))
        digests = [each.digest for _, each in parts]
        record("model.export", model, by=by, reason=reason.strip(), digests=digests)
    return parts


def is_barred(model: Model) -> bool:
    """Whether it, or a composition that it is part of, is in quarantine."""
    if isinstance(model, Composition):
        return model.state != Composition.State.READY
    return bool(model.compositions.exclude(state=Composition.State.READY).exists())


def may_read(person: User, model: Model) -> bool:
    rows: Any = type(model).objects
    return bool(rows.visible_to(person).filter(pk=model.pk).exists())


def still_may(model: Model, by: UUID) -> bool:
    """The right, the membership and the bar, as they are now."""
    with tenant_scope(str(model.tenant_id)):
        here = Membership.objects.filter(tenant=model.tenant_id, user=by, user__is_active=True)
        found = here.select_related("user").first()
        row = type(model).objects.filter(pk=model.pk).first()
        return (
            found is not None
            and row is not None
            and not closure.not_exportable(found.user, row)
            and not is_barred(row)
        )


def parts_of(model: Model) -> list[tuple[str, Model]]:
    """Folder in the tar, and whose weights lie there."""
    if isinstance(model, Augmenter):
        return [("augmenter", model)]
    each = enumerate(model.parts(), 1)
    return [("composition", model), *((f"augmenter-{n}", part) for n, part in each)]


def about(model: Model, parts: list[tuple[str, Model]]) -> bytes:
    """What stands in the tar, and the digest of the anchor that it needs."""
    told = {
        "model": str(model),
        "id": str(model.pk),
        "anchor": {"name": model.anchor.name, "digest": model.anchor.digest},
        "parts": {name: {"model": str(each), "digest": each.digest} for name, each in parts},
        "learned_from": [str(each) for each in model.closure],
    }
    return json.dumps(told, indent=1, sort_keys=True).encode() + b"\n"


def tarred(told: bytes, folders: list[tuple[str, Path]]) -> Iterator[bytes]:
    """A tar of these folders (POSIX.1-2001), a piece at a time; they never change."""
    yield from entry("export.json", len(told), iter([told]))
    for name, folder in folders:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            size = path.stat().st_size
            yield from entry(f"{name}/{path.relative_to(folder).as_posix()}", size, read(path))
    yield bytes(2 * tarfile.BLOCKSIZE)


def entry(name: str, size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    head = tarfile.TarInfo(name)
    head.size, head.mode = size, 0o600
    yield head.tobuf(tarfile.PAX_FORMAT)
    yield from pieces
    yield bytes(-size % tarfile.BLOCKSIZE)


def read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


async def sent(pieces: Iterator[bytes], model: Model, by: User) -> AsyncIterator[bytes]:
    """The pieces, as long as the right lasts. Raises InputError("export.right") in the middle."""
    await sync_to_async(live.let_go)()  # a slow line lasts, and connections are few
    number = 0
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        number += 1
        if number % ASKED_EVERY == 0 and not await live.apart(still_may, model, by.pk):
            raise InputError("export.right", names=str(model))
        yield piece
