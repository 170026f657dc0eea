"""Every test here runs a whole gateway through what can go wrong, and carries the marker that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stage import stage

__all__ = ["stage"]

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker("faults")
