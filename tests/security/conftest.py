"""Deployments for the tests that need one."""

from tests.support.stage import stage

__all__ = ["stage"]
