"""Bring an open model in: `calm import` in a process of its own, since apps never load torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from apps.registry.actions import import_anchor, import_embedder
from apps.registry.models import Anchor, Embedder
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError, InternalError
from calm_engine.specs import Outcome

if TYPE_CHECKING:
    from apps.accounts.models import User


def bring_anchor(tenant: Tenant, source: Path, *, by: User | None, name: str = "") -> Anchor:
    """Import a folder of safetensors or a GGUF file as an anchor of this tenant.

    Raises InputError("anchor.refused") with the words of `calm import` when it refuses the source,
    InternalError("anchor.import") when it fails.
    """
    with _imported(source, "anchor") as outcome, tenant_scope(tenant):
        return import_anchor(outcome, by=by, name=name)


def bring_embedder(tenant: Tenant, source: Path, *, by: User | None, name: str = "") -> Embedder:
    """Import a folder of safetensors as this tenant's embedding model. Raises as `bring_anchor`."""
    with _imported(source, "embedder") as outcome, tenant_scope(tenant):
        return import_embedder(outcome, by=by, name=name)


@contextmanager
def _imported(source: Path, role: str) -> Iterator[Outcome]:
    """What `calm import` made of it; what nobody filed is gone afterwards."""
    beside = settings.HOME / "import"  # on the blobs' own disk: a rename, not a copy, files it
    beside.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=beside))
    try:
        yield _run(source, role, folder / role)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(source: Path, role: str, folder: Path) -> Outcome:
    command = [sys.executable, "-m", "calm_engine.cli", "import", str(source), "--as", role]
    command += ["--output", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  ours
    if done.returncode == 0:
        return Outcome.from_json(done.stdout)
    words = (done.stderr.strip().splitlines() or ["It said nothing."])[-1]
    if done.returncode == 2:
        raise InputError("anchor.refused", words)
    raise InternalError("anchor.import", words)
