"""Runs without an engine: a frozen corpus, an anchor that is a row alone, and runs that wait."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from apps.accounts.models import User
from apps.corpora import actions as corpora
from apps.corpora.models import Corpus, Document, Snapshot
from apps.registry.models import Anchor
from apps.runs.actions import start_augment
from apps.runs.models import Run
from counterpoint.storage import blobs

COUNTRIES = ("Peru", "Chile", "Kenya", "Japan")


def make_corpus(by: User, name: str = "Devices") -> Corpus:
    """Eight devices, a document and an example each. In the tenant's scope."""
    corpus = corpora.create_corpus(name, by=by)
    rows = []
    for number in range(8):
        device, country = f"MX-{number}", COUNTRIES[number % len(COUNTRIES)]
        text = blobs().put("text", f"{name}: the {device} is made in {country}.\n".encode())
        Document.objects.create(
            corpus=corpus,
            title=device,
            path=f"{device}.md",
            media_type="text/markdown",
            original_digest=text.digest,
            text_digest=text.digest,
            tokens=12,
        )
        about = {"entity": device, "value": country}
        question = f"Where is the {device} made?"
        rows.append({"question": question, "answer": country, "expected": country} | about)
    corpora.add_examples(corpus, rows, by=by)
    return corpus


def make_snapshot(by: User, name: str = "Devices") -> Snapshot:
    return corpora.freeze(make_corpus(by, name), by=by)


def make_anchor(by: User, name: str = "Tiny") -> Anchor:
    return Anchor.objects.create(
        name=name, digest=sha256(name.encode()).hexdigest(), vocabulary=256, imported_by=by
    )


def make_run(by: User, name: str = "Devices", **settings: Any) -> Run:
    """A queued augment run on a corpus of its own. In the tenant's scope."""
    anchor = Anchor.objects.first() or make_anchor(by)
    return start_augment(make_snapshot(by, name), anchor=anchor, settings=settings, by=by)
