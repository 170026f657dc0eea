"""`recado demo`: a campaign of thousands of messages on one machine, and its account at the end.

`script` is what is published, `stage` what it runs on (with `meta`, Meta's end, and `process`, the gateway), `trouble` what
goes wrong meanwhile, `tally`, `standing` and `screen` what is seen of it, and `account` closes it.
"""

from gateway.demo.play import run

__all__ = ["run"]
