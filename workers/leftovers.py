"""What lies about on a worker's machine: old run folders, processes and results of no run.

Folders of ended runs go when their time is over; what nobody accounts for is shown, and people
decide. Looks at this machine alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import structlog
from django.conf import settings

from apps.registry.models import Augmenter, Composition
from apps.runs.models import Run
from apps.runs.states import ACTIVE, State
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from counterpoint.shelves import SHARDS
from counterpoint.storage import blobs
from workers.places import Place, clear, clear_but_milestones, size_of
from workers.processes import start_time

log = structlog.get_logger(__name__)

DAY = 86_400.0
YOUNG = 3600.0  # seconds: a result is stored before its row is written
SHOWN = 20


def sweep() -> list[str]:
    """Remove what is over its time; say in words what belongs to nobody."""
    found: list[str] = []
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant):
            found += _folders(Path(settings.HOME) / "runs" / str(tenant.pk))
            found += _blobs()
            SHARDS.lapse(settings.RUN_KEEP_DAYS)
    return found[:SHOWN]


def _folders(root: Path) -> Iterator[str]:
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        run = None
        with suppress(ValueError):
            run = Run.objects.filter(pk=UUID(folder.name)).first()
        place = Place(folder)
        if run is None:
            yield f"Folder {folder.name} of no run, {size_of(folder) >> 20} MB"
        elif run.state == State.SUCCEEDED and is_named(run):
            with suppress(OSError):
                clear_but_milestones(place)
        elif is_over(run, folder):
            log.info("run.folder_removed", run=str(run.pk))
            with suppress(OSError):
                clear(place)
            run.checkpoints.all().delete()
        else:
            yield from _process(place, run)


def is_over(run: Run, folder: Path) -> bool:
    """Whether nobody can need this folder any more."""
    if run.state in ACTIVE:
        return False
    if run.state == State.SUCCEEDED or run.discard:
        return True
    return time.time() - folder.stat().st_mtime > settings.RUN_KEEP_DAYS * DAY


def is_named(run: Run) -> bool:
    """Whether its milestones are wanted: it made the newest version of its name, or one that an
    alias names through a composition."""
    made = Augmenter.objects.filter(run_id=run.pk).first()
    if made is None or not run.checkpoints.filter(is_milestone=True).exists():
        return False
    newer = Augmenter.objects.filter(name=made.name, version__gt=made.version)
    return made.compositions.filter(aliases__isnull=False).exists() or not newer.exists()


def _process(place: Place, run: Run) -> Iterator[str]:
    """A child that lives although its attempt is over: its worker should have ended it."""
    with suppress(OSError, ValueError, KeyError):
        facts = json.loads(place.child.read_text(encoding="utf-8"))
        lives = facts["started"] and start_time(int(facts["pid"])) == facts["started"]
        if lives and (run.state != State.RUNNING or int(facts["epoch"]) < run.epoch):
            yield f"Process {facts['pid']} of attempt {facts['epoch']} of run {run.pk}"


def _blobs() -> Iterator[str]:
    """Stored results that no row names. Very young ones are on their way to their row."""
    known = {
        "augmenter": set(Augmenter.objects.values_list("digest", flat=True)),
        "composition": set(Composition.objects.values_list("digest", flat=True)),
        "control": {
            outcome["digest"]
            for outcome in Run.objects.exclude(outcome=None).values_list("outcome", flat=True)
            if "digest" in outcome
        },
    }
    for kind, digests in known.items():
        folder = blobs().root / kind
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            is_aside = path.name.startswith(".")
            with suppress(OSError):
                is_young = time.time() - path.stat().st_mtime < YOUNG
                if not is_young and (is_aside or path.name not in digests):
                    yield f"Stored {kind} {path.name[:12]} of no row, {size_of(path) >> 20} MB"
