"""Embedding models of North, and a real model server that answers for one."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from apps.registry.actions import import_embedder
from apps.registry.models import Embedder
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.digests import write_manifest
from calm_engine.specs import Outcome
from tests.apps.chat.making import Server, place, started, stop_server

NAME = "meaning"


@cache
def model_folder(width: int = 32) -> Path:
    """A random encoder of this width."""
    from tests.tiny import embedder_folder  # noqa: PLC0415  torch, for these tests alone

    root = Path(tempfile.mkdtemp(prefix="counterpoint-embedder-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return embedder_folder(root / "model", width=width)


@cache
def embedder_server(width: int = 32) -> Server:
    server = started("--embedder", str(model_folder(width)), "--name", NAME)
    atexit.register(stop_server, server)
    return server


def make_embedder(
    tenant: Tenant, folder: Path, *, address: str = "", width: int = 32, name: str = NAME
) -> Embedder:
    """An embedder in use, its files taken out of this folder; served when there is an address."""
    shutil.copytree(model_folder(width), folder)
    digest = write_manifest(folder)
    facts = {"name": name, "licence": "none", "parameters": 1, "width": width}
    with tenant_scope(tenant):
        row = import_embedder(Outcome("embedder", str(folder), digest, facts=facts), by=None)
        if address:
            place(row, address)
    return row
