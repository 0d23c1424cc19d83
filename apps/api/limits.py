"""How often one key may ask: a token bucket in Valkey. Knows no key's owner and no model."""

from __future__ import annotations

import math

import redis
import structlog

from apps.accounts.models import ApiKey
from counterpoint import live

log = structlog.get_logger(__name__)

PER_MINUTE = 600  # unless the tenant's settings say `api_requests_per_minute`
BURST_SECONDS = 20  # what the bucket holds, as seconds of its rate

# One step, so that two web processes never spend the same token. Time is the broker's own.
SPEND = """
local t = redis.call('TIME')
local now, rate, size = t[1] + t[2] / 1e6, tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = tonumber(kept[1]) or size
left = math.min(size, left + (now - (tonumber(kept[2]) or now)) * rate)
local wait = 0
if left >= 1 then left = left - 1 else wait = (1 - left) / rate end
redis.call('HSET', KEYS[1], 'left', tostring(left), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], 3600)
return tostring(wait)
"""


def seconds_to_wait(key: ApiKey) -> int:
    """Take one token: 0, or the seconds after which there is one again.

    Without the broker everybody is let through: an outage of the counter is no reason to refuse.
    """
    given = key.tenant.settings.get("api_requests_per_minute", PER_MINUTE)
    rate = max(1, int(given)) / 60
    size = max(1.0, rate * BURST_SECONDS)
    try:
        bucket = live.key(f"bucket:{key.pk}", key.tenant_id)
        wait = live.quick().eval(SPEND, 1, bucket, str(rate), str(size))
    except redis.RedisError as error:
        log.warning("api.uncounted", error=type(error).__name__)
        return 0
    return math.ceil(float(wait))
