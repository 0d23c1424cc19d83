"""One pool of connections for all requests of a web process. Workers have one connection each.

Every request runs on a thread of its own, so without a pool as many people at once as the database
has connections would leave none for anybody else. The tenant is told to each transaction alone
(`counterpoint.database.base`), so a connection that comes back carries nobody's name.
"""

from __future__ import annotations

from django.db import connections

IDLE = 60.0  # seconds after which a connection that nobody needed is closed


def share(size: int, patience: float) -> None:
    """Let this process have at most so many connections; 0 leaves one for each request.

    patience   seconds that a request waits for one before it is told to come back

    Called before the first query. A restarted database is noticed before a request gets a dead one.
    """
    if not size:
        return
    connections["default"].close()
    told = connections["default"].settings_dict  # the one that connections of every thread read
    told["CONN_MAX_AGE"], told["CONN_HEALTH_CHECKS"] = 0, True
    told["OPTIONS"]["pool"] = {
        "min_size": 0,
        "max_size": size,
        "timeout": patience,
        "max_idle": IDLE,
    }


def is_exhausted(error: BaseException | None) -> bool:
    """Whether this error, or what it came from, is a wait for a connection that was too long."""
    from psycopg_pool import PoolTimeout  # noqa: PLC0415  the web process alone has a pool

    while error is not None and not isinstance(error, PoolTimeout):
        error = error.__cause__
    return error is not None
