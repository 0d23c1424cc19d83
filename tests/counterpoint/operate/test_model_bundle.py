"""One model version carried to another site: with its lineage, by whoever may, and only whole."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from apps.audit.models import AuditEvent
from apps.corpora.models import CorpusGrant, Right
from apps.registry.actions import quarantine
from apps.registry.models import Composition
from apps.tenants.scope import tenant_scope
from calm_engine import digests
from counterpoint.operate import bundle
from counterpoint.operate.cli import main
from tests.cast import Cast
from tests.workers.making import make_anchor, make_snapshot, publish


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    assert main(["bundle-key", "--to", str(tmp_path / "keys")]) == 0
    return tmp_path / "keys"


@pytest.fixture
def model(cast: Cast, tmp_path: Path) -> Composition:
    with tenant_scope(cast.north):
        anchor = make_anchor(cast, tmp_path / "anchor")
        return publish(cast, make_snapshot(cast), anchor, tmp_path, uuid4())


def ask(cast: Cast, row: Composition, keys: Path, to: Path, **changed: str) -> str:
    """Give the command; what it was refused with, or nothing."""
    words: dict[str, Any] = {
        "tenant": cast.north.slug,
        "model": f"{row.name}@{row.version}",
        "by": cast.ada.email,
        "reason": "The plant has no network",
        "key": keys / "bundle.key",
        "to": to,
        "with_anchor": True,
    }
    try:
        call_command("bundle_model", **(words | changed))
    except CommandError as refused:
        return str(refused)
    return ""


def install(source: Path, keys: Path, to: Path) -> int:
    return main(
        ["install", "--from", str(source), "--trust", str(keys / "bundle.pub"), "--to", str(to)]
    )


def test_a_version_arrives_with_its_weights_and_its_lineage(
    cast: Cast, model: Composition, keys: Path, tmp_path: Path
) -> None:
    assert ask(cast, model, keys, tmp_path / "one.tar") == ""
    assert install(tmp_path / "one.tar", keys, tmp_path / "there") == 0
    there = tmp_path / "there" / "model"
    assert digests.folder_digest(there / "composition") == model.digest
    told = json.loads((there / "lineage.json").read_text())
    with tenant_scope(cast.north):
        assert told["parts"]["augmenter-1"] == model.parts()[0].digest
        assert told["anchor"]["digest"] == model.anchor.digest
        assert told["snapshots"] == [model.snapshot.digest]
        line = AuditEvent.objects.get(action="model.export")
    assert (line.by, line.facts["reason"]) == (cast.ada, "The plant has no network")


def test_whoever_may_not_export_carries_nothing_away(
    cast: Cast, model: Composition, keys: Path, tmp_path: Path
) -> None:
    to = tmp_path / "one.tar"
    assert "bundle.model" in ask(cast, model, keys, to, by=cast.bo.email)
    assert "bundle.model" in ask(cast, model, keys, to, by=cast.cy.email)
    assert "no such organisation" in ask(cast, model, keys, to, by="nobody@north.example")
    assert "bundle.model" in ask(cast, model, keys, to, model="another@1")
    assert "reason.missing" in ask(cast, model, keys, to, reason=" ")
    with tenant_scope(cast.north):
        corpus = model.snapshot.corpus
        CorpusGrant.objects.create(corpus=corpus, user=cast.bo, right=Right.READ)
    assert "export.right" in ask(cast, model, keys, to, by=cast.bo.email)
    with tenant_scope(cast.north):
        quarantine(model, by=cast.ada, reason="A leak.")
    assert "export.barred" in ask(cast, model, keys, to)
    assert not to.exists()
    with tenant_scope(cast.north):
        assert not AuditEvent.objects.filter(action="model.export").exists()


@pytest.mark.parametrize("harm", ["weights", "list", "digest", "folder", "none"])
def test_a_model_that_is_not_its_lineage_is_refused_though_it_is_signed(
    cast: Cast,
    model: Composition,
    keys: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    harm: str,
) -> None:
    """The signer itself has put something else in: weights of another run, a kinder list."""
    assert ask(cast, model, keys, tmp_path / "one.tar") == ""
    with tarfile.open(tmp_path / "one.tar") as archive:
        archive.extractall(tmp_path / "open", filter="data")
    inside = tmp_path / "open" / "model"
    told = json.loads((inside / "lineage.json").read_text())
    if harm == "weights":
        file = next((inside / "augmenter-1").glob("*.safetensors"))
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    elif harm == "list":
        told["learned_from"] = []
        (inside / "lineage.json").write_text(json.dumps(told))
    elif harm == "digest":
        del told["lineage"]
        told["parts"]["augmenter-1"] = "0" * 64
        told["lineage"] = bundle.lineage_digest(told)
        (inside / "lineage.json").write_text(json.dumps(told))
    elif harm == "folder":
        (inside / "augmenter-1").rename(inside / "augmenter-2")
    else:
        (inside / "lineage.json").unlink()
    files = {
        path.relative_to(tmp_path / "open").as_posix(): path
        for path in inside.rglob("*")
        if path.is_file()
    }
    bundle.pack(tmp_path / "two.tar", keys / "bundle.key", files)
    assert install(tmp_path / "two.tar", keys, tmp_path / "there") == 2
    assert "bundle.lineage" in capsys.readouterr().err
    assert not (tmp_path / "there").exists()
