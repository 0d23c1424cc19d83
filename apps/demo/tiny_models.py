"""Compositions of a few thousand weights that nobody trained: for benches of the site itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.core.management.base import CommandError

from apps.accounts.models import User
from apps.corpora.actions import add_examples, create_corpus, freeze, grant
from apps.corpora.models import Right
from apps.demo.operate_measuring import fill
from apps.registry import artifacts, hosts
from apps.registry.actions import import_anchor, promote, publish_augmenter, publish_composition
from apps.registry.models import Alias, Composition
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.specs import Outcome

SERVED_SECONDS = 120.0


def published(name: str, *, by: User, readers: Sequence[User] = (), seed: int = 0) -> Composition:
    """A composition of this name, live, and a corpus of this name that these people may read."""
    folder = Path(settings.HOME) / "tiny" / name
    outcomes = written(folder, name, seed)
    corpus = create_corpus(name, by=by)
    for reader in readers:
        grant(corpus, reader, Right.READ, by=by)
    fill(corpus, 1)
    add_examples(corpus, [{"question": "Where?", "answer": "Here", "expected": "Here"}], by=by)
    snapshot = freeze(corpus, by=by)
    anchor = import_anchor(outcomes["anchor"], by=by)
    for kind in ("augmenter", "composition"):
        artifacts.adopt(kind, folder / kind, outcomes[kind].digest)
    run = uuid4()
    augmenter = publish_augmenter(
        outcomes["augmenter"], name=name, run_id=run, anchor=anchor, snapshots=[snapshot], by=by
    )
    made = publish_composition(
        outcomes["composition"],
        name=name,
        run_id=run,
        anchor=anchor,
        augmenters=[augmenter],
        snapshot=snapshot,
        by=by,
    )
    promote(made, Alias.LIVE, by=by)
    return made


def written(folder: Path, name: str, seed: int) -> dict[str, Outcome]:
    """What a process of its own wrote there, as engine processes do."""
    done = subprocess.run(  # noqa: S603  ours
        [sys.executable, "-m", "calm_engine.bench.tiny", str(folder), "--seed", str(seed)],
        check=True,
        capture_output=True,
        text=True,
    )
    digests = json.loads(done.stdout.splitlines()[-1])
    return {
        kind: Outcome(kind, str(folder / kind), digest, facts={"name": name})
        for kind, digest in digests.items()
    }


def wait_until_served(tenant: Tenant, made: Composition) -> None:
    """Raises CommandError when no host has it after SERVED_SECONDS."""
    deadline = time.monotonic() + SERVED_SECONDS
    while time.monotonic() < deadline:
        with tenant_scope(tenant):
            if hosts.addresses_of(made):
                return
        time.sleep(0.5)
    raise CommandError("No host serves the model; its log in the home folder says why.")
