"""Rates and quotas that are kept exactly, in one process or by many together.

Usable alone. Knows neither messages nor providers; time is an argument, nothing here reads a clock or waits, except `Keeper`,
which carries leases to a store.
"""

from ratelimit.adaptive import Adaptive
from ratelimit.bucket import TokenBucket
from ratelimit.chain import Bucket, Chain
from ratelimit.lease import SLICE_S, Keeper, Lease, redis_runner
from ratelimit.lease_script import LEASE_SCRIPT
from ratelimit.quota import Quota
from ratelimit.quota_script import QUOTA_SCRIPT

__all__ = [
    "LEASE_SCRIPT",
    "QUOTA_SCRIPT",
    "SLICE_S",
    "Adaptive",
    "Bucket",
    "Chain",
    "Keeper",
    "Lease",
    "Quota",
    "TokenBucket",
    "redis_runner",
]
