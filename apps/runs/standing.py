"""Where a run stands, in one word with its look, its reason, since when, and what comes next.

Different things get different words: queued, starved, waiting for a window, stuck and the like are
never one grey "pending". Computed from rows whenever it is asked, and never stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.runs import expecting, queues, sharing, slots
from apps.runs.expecting import Ahead, Pace
from apps.runs.models import Run, Share, Slot
from apps.runs.states import State
from apps.tenants.scope import current_tenant_id


@dataclass(frozen=True)
class Standing:
    """A word, the look that goes with it (`data-state` in the style sheet), and why."""

    word: str
    look: str
    reason: str = ""
    since: datetime | None = None
    next: str = ""


@dataclass(frozen=True)
class Surroundings:
    """What a waiting run waits on: the slots that listen, the tenant's share, reservations.

    pace    how the queue moves; known only when something waits in it
    ahead   of each run that was asked for and waits, what has waited longer
    """

    now: datetime
    slots: Sequence[Slot] = ()
    share: Share = field(default_factory=Share)
    reserved_until: Sequence[datetime] = ()
    pace: Pace = field(default_factory=Pace)
    ahead: Mapping[UUID, Ahead] = field(default_factory=dict)

    @classmethod
    def look(cls, queue: str = "gpu", *, of: Iterable[Run] = ()) -> Surroundings:
        """As things are now, for the tenant in scope and these of its runs. Three queries."""
        listening = slots.listening(queue)
        names = [slot.name for slot in listening]
        found = queues.look(queue, of, slots=names, tenant_id=current_tenant_id())
        return cls(
            now=timezone.now(),
            slots=listening,
            share=Share.objects.first() or Share(),
            reserved_until=found.reserved_until,
            pace=found.pace,
            ahead=found.ahead,
        )

    @classmethod
    def of(cls, run: Run) -> Surroundings:
        """Those of one run: only one that waits has any."""
        waits = run.state == State.QUEUED
        return cls.look(run.queue, of=[run]) if waits else cls(timezone.now())


def standing(run: Run, around: Surroundings) -> Standing:
    """How this run stands. What has waited longer in the same queue may go first, all of it."""
    if run.state == State.QUEUED:
        return _waiting(run, around, around.ahead.get(run.pk, Ahead()))
    if run.state == State.RUNNING:
        return _working(run, around.now)
    if run.state == State.SUCCEEDED:
        return Standing(_("finished"), "ok", since=run.finished_at)
    if run.state == State.FAILED:
        return Standing(_("failed"), "bad", since=run.finished_at)
    word = _("discarded") if run.discard else _("stopped")
    return Standing(word, "stopped", since=run.finished_at)


def _working(run: Run, now: datetime) -> Standing:
    if run.is_stopping:
        reason = _("The worker has been asked to stop, and has not yet answered.")
        return Standing(_("stopping"), "leaving", reason, run.cancel_requested_at)
    if run.lease_until is not None and run.lease_until < now:
        reason = _("Its worker is silent and its lease has run out.")
        following = _("It goes back into the queue within seconds, to its last checkpoint.")
        return Standing(_("stuck"), "stuck", reason, run.lease_until, following)
    if run.is_pausing:
        reason = _("The worker has been asked to save and let go.")
        return Standing(_("pausing"), "leaving", reason, run.pause_requested_at)
    if run.is_silent(now):
        reason = _("Nothing has been heard of its worker.")
        following = _("If the worker is gone, another goes on when the lease ends.")
        return Standing(_("silent"), "warn", reason, run.heartbeat_at, following)
    return Standing(_("running"), "busy", since=run.started_at)


def _waiting(run: Run, around: Surroundings, ahead: Ahead) -> Standing:
    if run.is_paused:
        reason = _("Somebody asked for a pause.")
        following = _("It goes on from its checkpoint when somebody lets it.")
        return Standing(_("paused"), "paused", reason, run.pause_requested_at, following)
    barred = _barred(run, around)
    if barred is not None:
        return barred
    since = run.queued_at
    following = _begins(run, around, ahead)
    if not ahead.runs:
        return Standing(_("queued"), "queued", _("It is the next in the queue."), since, following)
    word = _("queued, place %(place)s") % {"place": ahead.runs + 1}
    reason = ngettext(
        "At most %(count)d run is ahead.", "At most %(count)d runs are ahead.", ahead.runs
    ) % {"count": ahead.runs}
    return Standing(word, "queued", reason, since, following)


def _begins(run: Run, around: Surroundings, ahead: Ahead) -> str:
    """When it is expected to begin, on the slots that would take it now or after what works."""
    takers = {
        slot.name
        for slot in around.slots
        if slot.memory_bytes >= run.device_bytes
        and not slot.is_disk_low
        and sharing.why_waiting(slot, run, around.now) is None
    }
    # Which slots are reserved is another tenant's business: then nothing is promised.
    is_known = not around.reserved_until
    seconds = expecting.begins_in(ahead, around.pace, takers) if is_known else None
    return expecting.in_words(seconds, around.now)


def _barred(run: Run, around: Surroundings) -> Standing | None:
    """What keeps a run from being claimed however long it waits; None when nothing does."""
    local = timezone.localtime(around.now)
    if not around.slots:
        reason = _("No worker listens to the queue %(queue)s.") % {"queue": run.queue}
        following = _("Somebody must start a worker; the run begins by itself then.")
        return Standing(_("starved"), "starved", reason, run.queued_at, following)
    if around.share.is_quiet(local):
        until = around.share.quiet_until
        following = _("It begins after %(time)s.") % {"time": f"{until:%H:%M}"}
        reason = _("No run begins in the quiet hours.")
        return Standing(_("waiting for its window"), "window", reason, run.queued_at, following)
    if not around.share.has_quota_left(local):
        reason = _("This month's %(minutes)s accelerator minutes are used up.") % {
            "minutes": around.share.minutes
        }
        following = _("It begins on the first of the month, or when the quota is raised.")
        return Standing(_("waiting for quota"), "window", reason, run.queued_at, following)
    fitting = [slot for slot in around.slots if slot.memory_bytes >= run.device_bytes]
    if not fitting:
        reason = _("It needs more memory than any slot has.")
        following = _("Choose a smaller model or batch, or add a larger accelerator.")
        return Standing(_("does not fit"), "starved", reason, run.queued_at, following)
    held = [sharing.why_waiting(slot, run, around.now) for slot in fitting]
    if None not in held and held[0] is not None:
        word = _("waiting for the accelerator")
        return Standing(word, "window", held[0][0], run.queued_at, held[0][1])
    if all(slot.is_disk_low for slot in around.slots):
        reason = _("The disk of the run folders is nearly full.")
        following = _("It begins when there is room again.")
        return Standing(_("waiting for disk"), "window", reason, run.queued_at, following)
    if len(around.reserved_until) >= len(around.slots):
        at = date_format(timezone.localtime(around.reserved_until[0]), "Y-m-d H:i")
        reason = _("Every slot is reserved for somebody else.")
        following = _("The first is free again at %(time)s.") % {"time": at}
        return Standing(_("waiting for its window"), "window", reason, run.queued_at, following)
    return None
