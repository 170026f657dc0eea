"""Tests of the handle on a gateway process: what a log may not show, and how a process ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last):\n  File ...\nValueError",
        "RuntimeWarning: coroutine 'x' was never awaited",
        "level=error event=task text='Task exception was never retrieved'",
    ],
)
def test_a_log_that_shows_a_bug_fails_the_test(tmp_path: Path, text: str) -> None:
    """The failure shows the place in the log."""
    gateway = GatewayProcess(tmp_path / "recado.toml", tmp_path / "log")
    gateway.log.write_text("level=info event=started\n")
    gateway.assert_clean_log()
    gateway.log.write_text(f"level=info event=started\n{text}\n")
    with pytest.raises(AssertionError, match="event=started"):
        gateway.assert_clean_log()


async def test_a_process_that_ends_by_itself_gives_its_code_and_its_words(tmp_path: Path) -> None:
    """A gateway without a configuration refuses to start, and says so in the log."""
    async with GatewayProcess(tmp_path / "missing.toml", tmp_path / "log") as gateway:
        assert await gateway.wait() != 0
        assert not gateway.running
        assert gateway.log_text() != ""


async def test_a_killed_process_is_gone_and_can_be_started_again(tmp_path: Path) -> None:
    """`kill` waits for the end, so that the next process finds nothing of the one before."""
    async with GatewayProcess(tmp_path / "missing.toml", tmp_path / "log") as gateway:
        gateway.kill()
        assert not gateway.running
        gateway.start()
        assert await gateway.wait() != 0
