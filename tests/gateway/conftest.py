"""What tests of one stage of the gateway need when it works on real topics."""

from __future__ import annotations

from tests.support.stage import stage

__all__ = ["stage"]
