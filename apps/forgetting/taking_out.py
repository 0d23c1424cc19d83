"""Everything of a tenant as one tar file that needs no Counterpoint to be read.

    manifest.json          form, tenant, release, who agreed, rows by table, what is left out, why
    people.jsonl           the members: id, address, name, role
    rows/<table>.jsonl     a line of JSON for each row, by column
    originals/<sha256>     as uploaded; texts/<sha256> as extracted; reports/<sha256>/<name>
    models/<kind>/<sha256>/<name>   weights of augmenters, compositions and controls

Everything lies plain in it. Works for the tenant in scope.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from django.db import connection, transaction
from django.utils import timezone

from apps.audit.actions import record
from apps.forgetting import leaving
from apps.forgetting.tables import tables_of_tenants
from apps.tenants.models import Membership, Tenant
from calm_engine.errors import InputError, InternalError
from counterpoint.disk import settle, writing_aside
from counterpoint.release import version
from counterpoint.storage import SEALED, Blobs, blobs, pieces

FORM = 1
# Columns and tables that are keys to this site, and of no use anywhere else.
WITHHELD = {
    "tenants_datakey": "opens stored files of this site, and is wrapped by its site key",
    "accounts_apikey": "opens this site's API",
    "*.secret": "signs what this site posts",
}
SINGLE = {"original": "originals", "text": "texts"}
FOLDERS = {
    "report": "reports",
    "augmenter": "models/augmenter",
    "composition": "models/composition",
}
FOLDERS |= {"control": "models/control"}


def take_out(tenant: Tenant, target: Path) -> dict[str, Any]:
    """Write everything of the tenant to `target`; the manifest.

    Raises InputError: "leaving.unagreed", "leaving.exists", "disk.full"; nothing is left then.
    """
    wish = leaving.agreement(leaving.EXPORT, tenant)
    if target.exists():
        raise InputError("leaving.exists", path=str(target))
    with writing_aside(target.parent) as (file, aside):
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            told = everything(tar, tenant)
            told["agreed"] = {"by": str(wish.asked_by_id), "approval": str(wish.pk)}
            add_text(tar, "manifest.json", json.dumps(told, indent=1, sort_keys=True) + "\n")
        settle(file)
        with transaction.atomic():
            leaving.spend(wish)
            rows = sum(told["rows"].values())
            record("tenant.export", tenant, by=wish.asked_by, rows=rows, files=told["files"])
        aside.rename(target)
    return told


def everything(tar: tarfile.TarFile, tenant: Tenant) -> dict[str, Any]:
    """Rows, people and files into the tar; what the manifest says of them."""
    named = [name for name in tables_of_tenants() if name not in WITHHELD]
    rows = {name: add_rows(tar, name, tenant) for name in named}
    add_text(tar, "people.jsonl", "".join(people(tenant)))
    damaged: list[str] = []
    files = sum(1 for _ in add_files(tar, blobs(), damaged))
    return {
        "form": FORM,
        "release": version(),
        "taken_at": timezone.now().isoformat(timespec="seconds"),
        "tenant": {"id": str(tenant.pk), "slug": tenant.slug, "name": tenant.name},
        "settings": tenant.settings,
        "rows": rows,
        "files": files,
        "damaged": damaged,
        "withheld": WITHHELD,
    }


def add_rows(tar: tarfile.TarFile, table: str, tenant: Tenant) -> int:
    """One line of JSON a row, as PostgreSQL writes it; how many. Never all of them in memory."""
    connection.ensure_connection()
    told = f"""SELECT (to_jsonb(t) - 'secret')::text FROM "{table}" t WHERE tenant_id = %s"""  # noqa: S608  a name of the catalogue
    rows = 0
    with tempfile.TemporaryFile() as lines, transaction.atomic():
        with connection.connection.cursor(name="taking_out") as cursor:
            cursor.execute(told, [tenant.pk])
            for (row,) in cursor:
                lines.write(f"{row}\n".encode())
                rows += 1
        add(tar, f"rows/{table}.jsonl", lines)
    return rows


def people(tenant: Tenant) -> Iterator[str]:
    for each in Membership.objects.of(tenant).select_related("user"):
        told = {"id": each.user_id, "email": each.user.email, "name": each.user.name}
        yield json.dumps(told | {"role": each.role}, default=str) + "\n"


def add_files(tar: tarfile.TarFile, store: Blobs, damaged: list[str]) -> Iterator[str]:
    """Every stored file, opened; the names of those that do not open go to `damaged`."""
    for name, opened in stored(store):
        try:
            with opened() as file:
                for _piece in pieces(file):  # to its end: half a file would spoil the tar
                    pass
                add(tar, name, file)
        except InternalError:
            damaged.append(name)
        else:
            yield name


def stored(store: Blobs) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    """Name in the tar, and how to open it."""
    for kind, folder in SINGLE.items():
        for digest in store.names(kind):
            yield f"{folder}/{digest}", partial(store.open, kind, digest)
    for kind, folder in FOLDERS.items():
        for digest in store.names(kind):
            for name in store.within(kind, digest):
                yield f"{folder}/{digest}/{name}", partial(within, store, kind, digest, name)


def within(store: Blobs, kind: str, digest: str, name: str) -> BinaryIO:
    """A file of an adopted folder, sealed or not."""
    if kind in SEALED:
        return store.open_within(kind, digest, name)
    return store.raw(kind, f"{digest}/{name}")


def add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    add(tar, name, io.BytesIO(text.encode()))


def add(tar: tarfile.TarFile, name: str, file: BinaryIO) -> None:
    """A file that can be sought in, from its beginning; readable by its owner alone."""
    about = tarfile.TarInfo(name)
    about.size = file.seek(0, io.SEEK_END)
    about.mode, about.mtime = 0o600, int(timezone.now().timestamp())
    file.seek(0)
    tar.addfile(about, file)
