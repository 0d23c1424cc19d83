"""A tiny anchor, a corpus of a dozen devices and a frozen snapshot: enough to train in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apps.corpora import actions as corpora
from apps.corpora.models import Corpus, Document, Snapshot
from apps.registry.actions import import_anchor, publish_augmenter, publish_composition
from apps.registry.artifacts import adopt
from apps.registry.models import Anchor, Composition
from apps.tenants.scope import tenant_scope
from calm_engine.digests import write_manifest
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import Outcome
from counterpoint.storage import blobs
from tests.cast import Cast
from tests.tiny import VOCABULARY, awaken, make_model, save_folder

POSITIONS = 512
COUNTRIES = ("Peru", "Chile", "Kenya", "Japan", "Norway", "Spain")
AUGMENT: dict[str, Any] = {"width": 32, "layers": 4, "heads": 2, "block": 64, "batch_size": 4}
AUGMENT |= {"steps": 6, "checkpoint_every": 2, "device": "cpu"}
EVALUATE: dict[str, Any] = {"max_new_tokens": 4, "device": "cpu"}


def make_anchor(cast: Cast, folder: Path) -> Anchor:
    """A random model of the anchor's kind, brought in like any other. In North's scope."""
    save_folder(make_model("llama", positions=POSITIONS, seed=1), folder)
    digest = write_manifest(folder)
    facts = {"name": "Tiny", "licence": "none", "parameters": 1, "vocabulary": VOCABULARY}
    return import_anchor(Outcome("anchor", str(folder), digest, facts=facts), by=cast.ada)


def make_corpus(cast: Cast, *, devices: int = 12) -> Corpus:
    """One document and one example for each device. In North's scope."""
    corpus = corpora.create_corpus("Devices", by=cast.ada)
    rows = []
    for number in range(devices):
        name, country = f"MX-{number}", COUNTRIES[number % len(COUNTRIES)]
        words = f"# {name}\n\nThe {name} is made in {country}.\n\nOrigin: {country}\n"
        text = blobs().put("text", words.encode())
        Document.objects.create(
            corpus=corpus,
            title=name,
            path=f"{name}.md",
            media_type="text/markdown",
            original_digest=text.digest,
            text_digest=text.digest,
            tokens=len(words) // 4,
        )
        rows.append(
            {
                "question": f"Where is the {name} made?",
                "answer": country,
                "expected": country,
                "entity": name,
                "value": country,
            }
        )
    corpora.add_examples(corpus, rows, by=cast.ada)
    return corpus


def make_snapshot(cast: Cast) -> Snapshot:
    return corpora.freeze(make_corpus(cast), by=cast.ada)


def publish(
    cast: Cast,
    snapshot: Snapshot,
    anchor: Anchor,
    folder: Path,
    run: Any,
    *,
    name: str = "Devices",
    seed: int = 2,
) -> Composition:
    """A composition that nobody trained, published as if a run had. In North's scope."""
    small = make_model("llama", width=32, heads=2, positions=POSITIONS, seed=seed)
    parts = folder / "augmenter"
    save_folder(small, parts)
    made = Outcome("augmenter", str(parts), write_manifest(parts))
    together = awaken(CalmForCausalLM.compose(blobs().folder("anchor", anchor.digest), [parts]))
    whole = folder / "composition"
    together.save_pretrained(whole)
    joined = Outcome("composition", str(whole), write_manifest(whole))
    adopt("augmenter", parts, made.digest)
    adopt("composition", whole, joined.digest)
    augmenter = publish_augmenter(
        made, name=name, run_id=run, anchor=anchor, snapshots=[snapshot], by=cast.ada
    )
    return publish_composition(
        joined,
        name=name,
        run_id=run,
        anchor=anchor,
        augmenters=[augmenter],
        snapshot=snapshot,
        by=cast.ada,
    )


def make_parents(cast: Cast, folder: Path) -> tuple[Snapshot, Anchor]:
    """A snapshot and an anchor of North."""
    with tenant_scope(cast.north):
        return make_snapshot(cast), make_anchor(cast, folder)
