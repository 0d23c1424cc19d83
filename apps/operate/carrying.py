"""One model version on its way to another site: what goes along, and what says whence it comes.

The same right, bar and second person as for taking weights out on the model's page, and the same
line in the audit log. Signs nothing itself.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.evaluation.items import card_of
from apps.evaluation.models import Report
from apps.registry import artifacts, export
from apps.registry.models import Composition
from calm_engine.errors import InputError
from counterpoint.operate.bundle import LINEAGE, LINEAGE_FORM, lineage_digest
from counterpoint.release import version

if TYPE_CHECKING:
    from apps.accounts.models import User


def composition_named(name: str, *, by: User) -> Composition:
    """The composition "name@3", if this person may read what it learned from.

    Raises InputError("bundle.model").
    """
    model, _, number = name.rpartition("@")
    found: Composition | None = None
    if number.isdecimal() and len(number) < 9:
        readable = Composition.objects.visible_to(by)
        found = readable.filter(name=model, version=int(number)).first()
    if found is None:
        raise InputError("bundle.model", f"There is no model version {name} for this person.")
    return found


@contextmanager
def gathered(
    model: Composition, *, by: User, reason: str, with_anchor: bool
) -> Iterator[dict[str, Path]]:
    """Every file by its path inside: weights, lineage, report and card. In the tenant's scope.

    Raises InputError as `export.agree` does: nothing leaves without it.
    """
    parts = export.agree(model, by=by, reason=reason)
    folders = {name: artifacts.path(each) for name, each in parts}
    if with_anchor:
        folders["anchor"] = artifacts.path(model.anchor)
    found = {
        f"model/{name}/{file.relative_to(folder).as_posix()}": file
        for name, folder in folders.items()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    with tempfile.TemporaryDirectory() as written:
        for name, text in papers(model, parts).items():
            paper = Path(written) / name
            paper.write_text(text, encoding="utf-8")
            found[f"model/{name}"] = paper
        yield found


def papers(model: Composition, parts: list[tuple[str, export.Model]]) -> dict[str, str]:
    """What is said of the version: where it comes from, what it scored."""
    report = Report.objects.filter(composition=model).first()  # the newest
    told = {LINEAGE: json.dumps(lineage(model, parts, report), indent=1, sort_keys=True)}
    if report is not None:
        about = {
            "verdict": report.verdict,
            "measured_at": report.created_at.isoformat(),
            "questions": report.question_set.digest,
            "cells": report.cells,
            "figures": report.figures,
        }
        told["report.json"] = json.dumps(about, indent=1, sort_keys=True)
        if card := card_of(report):
            told["card.md"] = card
    return told


def lineage(
    model: Composition, parts: list[tuple[str, export.Model]], report: Report | None
) -> dict[str, Any]:
    """Every ancestor by digest, and the digest of that list."""
    snapshots = {model.snapshot.digest} | {
        each.digest for part in model.parts() for each in part.snapshots.all()
    }
    told: dict[str, Any] = {
        "form": LINEAGE_FORM,
        "release": version(),
        "model": f"{model.name}@{model.version}",
        "id": str(model.pk),
        "anchor": {
            "name": model.anchor.name,
            "digest": model.anchor.digest,
            "licence": model.anchor.licence,
        },
        "parts": {name: each.digest for name, each in parts},
        "snapshots": sorted(snapshots),
        "learned_from": sorted(str(each) for each in model.closure),
        "report": report.items_digest if report else "",
    }
    return told | {"lineage": lineage_digest(told)}
