"""Who has an accelerator: chat, training, or both. The one place where the two meet.

A model host holds a device by a lease on its slot's row, which it renews while its servers live;
a training holds it by its run's own lease. Who finds the device held asks for it, and the site's
policy (ACCELERATOR_POLICY) says who gives way. Every decision locks the slot's row first, so that
both cannot take the same memory at once. Knows no process and no engine.

share   both at once, as far as the memory of both is known to fit; nobody gives way
drain   training goes first: servers finish what they answer and leave, and come back after it
night   chat goes first by day, training in the hours of ACCELERATOR_NIGHT
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import TextChoices
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.runs.models import Run, Slot

HELD_FOR = timedelta(seconds=30)  # a model host that is silent for so long holds nothing any more
ASKED_FOR = timedelta(seconds=45)  # a wish is told again every ten; older ones are over

LOCK = """
SELECT coalesce(serving_until > now(), false), serving_bytes, memory_bytes,
       coalesce(training_asked_at > now() - %(asked)s, false),
       coalesce(serving_asked_at > now() - %(asked)s, false)
  FROM runs_slot WHERE name = %(slot)s FOR UPDATE
"""
TRAINS = """
SELECT count(*), coalesce(sum(device_bytes), 0) FROM runs_run
 WHERE state = 'running' AND owner = %(slot)s
"""
ASK_FOR_TRAINING = "UPDATE runs_slot SET training_asked_at = now() WHERE name = %(slot)s"
FORGET_TRAINING = "UPDATE runs_slot SET training_asked_at = NULL WHERE name = %(slot)s"
ASK_FOR_SERVING = "UPDATE runs_slot SET serving_asked_at = now() WHERE name = %(slot)s"
HOLD = """
UPDATE runs_slot SET serving_until = now() + %(held)s, serving_bytes = %(bytes)s,
       serving_asked_at = NULL
 WHERE name = %(slot)s
"""
LET_GO = """
UPDATE runs_slot SET serving_until = NULL, serving_bytes = 0, serving_asked_at = NULL
 WHERE name = %(slot)s
"""


class Policy(TextChoices):
    SHARE = "share"
    DRAIN = "drain"
    NIGHT = "night"


@dataclass(frozen=True)
class Held:
    """A slot as its locked row says: what chat holds of it, and who asks for it.

    serves, serving_bytes   whether a model host's lease lives, and what its servers hold
    memory_bytes   of the device; 0 where nobody has told
    """

    serves: bool = False
    serving_bytes: int = 0
    memory_bytes: int = 0
    training_asks: bool = False
    serving_asks: bool = False


def policy() -> Policy:
    return Policy(settings.ACCELERATOR_POLICY)


def is_night(local: datetime | None = None) -> bool:
    """Whether this local time lies in the hours that belong to training."""
    first, last = settings.ACCELERATOR_NIGHT
    now = (local or timezone.localtime()).time()
    return first <= now < last if first <= last else now >= first or now < last


def training_goes_first() -> bool:
    """Whether chat gives way when a training asks."""
    return policy() == Policy.DRAIN or (policy() == Policy.NIGHT and is_night())


def in_words() -> str:
    """The site's policy, for the page that shows the machines."""
    if policy() == Policy.SHARE:
        return _("Both at once, as far as their memory fits.")
    if policy() == Policy.DRAIN:
        return _("Training goes first: models finish their answers, rest, and come back after it.")
    first, last = (f"{each:%H:%M}" for each in settings.ACCELERATOR_NIGHT)
    return _("Chat by day, training from %(first)s to %(last)s.") % {"first": first, "last": last}


# -- training --------------------------------------------------------------------------------------


def room_for_training(held: Held, memory: int) -> int | None:
    """Bytes that a run may take of this slot now; None: chat has it, or asks for it first."""
    if policy() == Policy.SHARE:
        return memory - held.serving_bytes if held.serves else memory
    if held.serves or (held.serving_asks and not training_goes_first()):
        return None
    return memory


def locked(cursor: Any, slot: str) -> Held:
    """The slot's row, locked until the transaction ends; nothing is held of one nobody told of."""
    cursor.execute(LOCK, {"slot": slot, "asked": ASKED_FOR})
    row = cursor.fetchone()
    return Held(*row) if row else Held()


def ask_for_training(cursor: Any, slot: str) -> None:
    """Say that a run waits for this device; a host that must give way sees it."""
    cursor.execute(ASK_FOR_TRAINING, {"slot": slot})


def forget_that_training_asked(cursor: Any, slot: str) -> None:
    """It has the device now: chat may come back as soon as it ends."""
    cursor.execute(FORGET_TRAINING, {"slot": slot})


def why_training_leaves(*, serving_asks: bool) -> str:
    """Why a working run must save and go back into the queue; "" when it may work on."""
    if policy() == Policy.NIGHT and serving_asks and not is_night():
        return _("By day the accelerator answers chats; it goes on from its checkpoint at %s.") % (
            f"{settings.ACCELERATOR_NIGHT[0]:%H:%M}"
        )
    return ""


def why_waiting(slot: Slot, run: Run, now: datetime) -> tuple[str, str] | None:
    """Why chat keeps a waiting run off this slot, and what comes next; None when it does not."""
    if policy() == Policy.SHARE:
        if slot.serves(now) and slot.memory_bytes - slot.serving_bytes < run.device_bytes:
            reason = _("It does not fit beside the models that answer chats.")
            return reason, _("It begins when a model is retired, or on a larger accelerator.")
        return None
    if training_goes_first():
        reason = _("The models that answer chats finish, and let go of the accelerator.")
        return (reason, _("It begins within a minute.")) if slot.serves(now) else None
    asks = slot.serving_asked_at is not None and now - slot.serving_asked_at < ASKED_FOR
    if slot.serves(now) or asks:
        begins = f"{settings.ACCELERATOR_NIGHT[0]:%H:%M}"
        return _("By day the accelerator answers chats."), _("It begins after %s.") % begins
    return None


# -- chat ------------------------------------------------------------------------------------------


def take_for_serving(slot: str, needed: int, *, more: int = 0) -> str:
    """Take or renew chat's lease of a device. Returns why not, or "" when it is held.

    needed   bytes that its servers hold now
    more     bytes that one more would take; 0 to renew
    Refused while a training works or asks first, or, where both share, when it does not fit.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE app_dispatch")  # runs of every tenant count
        held = locked(cursor, slot)
        refused = _why_not(cursor, slot, held, needed, more) if more or not held.serves else ""
        if refused:
            cursor.execute(ASK_FOR_SERVING, {"slot": slot})
        else:
            lease: dict[str, Any] = {"held": HELD_FOR, "bytes": needed + more}
            cursor.execute(HOLD, lease | {"slot": slot})
        cursor.execute("RESET ROLE")
    return refused


def _why_not(cursor: Any, slot: str, held: Held, needed: int, more: int) -> str:
    cursor.execute(TRAINS, {"slot": slot})
    count, taken = cursor.fetchone()
    if policy() == Policy.SHARE:
        is_full = held.memory_bytes and taken + needed + more > held.memory_bytes
        if count and is_full:
            return _("It does not fit beside the training that works on this accelerator.")
        return ""
    if count:
        return _("A training works on this accelerator. The model comes back after it.")
    if held.training_asks and training_goes_first():
        return _("A training has asked for this accelerator. The model comes back after it.")
    return ""


def why_serving_leaves(slot: str) -> str:
    """Why chat must let go of a device that it holds; "" when it may stay."""
    if not training_goes_first():
        return ""
    with transaction.atomic(), connection.cursor() as cursor:
        if not locked(cursor, slot).training_asks:
            return ""
    return _("A training has asked for this accelerator. The model comes back after it.")


def let_go_of_serving(slot: str) -> None:
    """Chat holds nothing of this device any more: its servers have ended."""
    with connection.cursor() as cursor:
        cursor.execute(LET_GO, {"slot": slot})
