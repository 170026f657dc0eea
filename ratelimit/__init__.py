"""Rates that are kept exactly: token buckets and chains of them.

Usable alone. Knows neither messages nor providers; time is an argument, nothing here reads a clock or waits.
"""

from ratelimit.bucket import TokenBucket
from ratelimit.chain import Bucket, Chain

__all__ = ["Bucket", "Chain", "TokenBucket"]
