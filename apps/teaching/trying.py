"""The dry run of a plan: two steps of each sort on the real device, before anything is started.

It is a run like any other: it waits its turn, has a page, and can be stopped. It measures what
learning the documents needs, and then the bridges, on a newborn augmenter that knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.corpora.models import Snapshot
from apps.registry.models import Anchor
from apps.runs.actions import start_estimate, trial_spec
from apps.runs.models import Run
from apps.runs.standing import Standing, Surroundings, standing
from apps.runs.starts import NOTHING, Start
from apps.runs.states import ACTIVE, Kind, State
from apps.teaching.planning import memory_of, need_of
from calm_engine.specs import Estimate

if TYPE_CHECKING:
    from apps.accounts.models import User

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """A dry run as the plan rail shows it: where it stands, and what it measured."""

    run: Run
    stands: Standing
    measured: Estimate | None

    @property
    def is_active(self) -> bool:
        return self.run.state in ACTIVE

    @property
    def device(self) -> str:
        return str((self.run.outcome or {}).get("facts", {}).get("device", ""))

    @property
    def memory(self) -> int:
        """Bytes at most: of the accelerator where there is one, else of the machine."""
        if self.measured is None:
            return 0
        return memory_of(self.measured)

    @property
    def disk(self) -> int:
        """Bytes at most, of both trainings."""
        every = [self.measured, self.measured.bridges] if self.measured else []
        return sum(each.disk_bytes for each in every if each is not None)


def try_out(
    snapshot: Snapshot, anchor: Anchor, settings: Settings, start: Start = NOTHING, *, by: User
) -> Run:
    """Queue a dry run of a plan's trainings; one that still waits or works is given back.

    settings   {"augment": {...}, ...}, as `start_plan` takes them
    Raises InputError as a start does.
    """
    known = newest(snapshot, anchor, settings, start)
    if known is not None and known.state in ACTIVE:
        return known
    kinds = (Kind.AUGMENT, Kind.COMPOSE)
    needs = max(need_of(kind, snapshot, anchor, settings, start).certain for kind in kinds)
    return start_estimate(
        snapshot, anchor=anchor, settings=settings, start=start, by=by, device_bytes=needs
    )


def trial_of(run: Run, around: Surroundings) -> Trial:
    """How a dry run stands, and what it has measured."""
    measured = None
    if run.state == State.SUCCEEDED and run.outcome:
        measured = Estimate.from_dict(run.outcome["facts"]["estimate"])
    return Trial(run, standing(run, around), measured)


def newest(
    snapshot: Snapshot, anchor: Anchor, settings: Settings, start: Start = NOTHING
) -> Run | None:
    """The newest dry run of exactly these choices; None when there has been none."""
    spec = trial_spec(snapshot, settings, start).to_dict()
    rows = Run.objects.filter(kind=Kind.ESTIMATE, snapshot=snapshot, anchor=anchor, spec=spec)
    rows = rows.filter(base=start.base, augmenter=start.earlier)
    found: Run | None = rows.order_by("-created_at").first()
    return found
