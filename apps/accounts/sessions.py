"""How long somebody stays signed in, and how it ends before its time. Knows no page.

Two clocks run in each session from the moment of signing in: one ends it when nothing was asked
for a while, the other however busy it is. A stream that is open asks nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.accounts.actions import told_in_each_tenant

if TYPE_CHECKING:
    from apps.accounts.models import User

CLOCK = "clock"  # in the session: [second of signing in, second of the last request]
TOLD_EVERY = 60  # seconds between two writes of the second clock: not one write per request


def begin(request: HttpRequest) -> None:
    """Start both clocks: somebody has just signed in."""
    now = int(time.time())
    request.session[CLOCK] = [now, now]


def end_if_over(request: HttpRequest) -> None:
    """Sign whoever asks out if one of their clocks has run down; else move the second one."""
    clock = request.session.get(CLOCK) if request.user.is_authenticated else None
    if clock is None:
        return
    began, seen = clock
    now = int(time.time())
    idle = settings.SESSION_IDLE_SECONDS
    if now - began >= settings.SESSION_COOKIE_AGE or 0 < idle <= now - seen:
        logout(request)
        messages.info(request, _("You were signed out after a while. Sign in again to go on."))
    elif now - seen >= TOLD_EVERY:
        request.session[CLOCK] = [began, now]


def end_all(user: User, *, by: User) -> int:
    """End every session of this person, wherever they are signed in; how many."""
    mine = list(UserSession.objects.filter(user=user))
    for each in mine:
        each.end()
    told_in_each_tenant("sign_out", user, by=by)
    return len(mine)
