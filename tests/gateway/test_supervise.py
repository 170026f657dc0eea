"""Supervising workers: when one is started again, how all end, and how a running gateway is found."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway.cli import app, control
from gateway.log import Sampling
from gateway.supervise import Restarts, Supervisor
from tests.gateway.test_cli import write

# Lives until its standard input is closed, as a worker does, and ends in good order.
WELL = ("cat",)
DYING = ("sh", "-c", "exit 3")
DEAF = ("sleep", "600")
NOWHERE = ("nowhere-to-be-found",)


# When.


@given(st.lists(st.floats(0, 59), min_size=1, max_size=100))
def test_pauses_double_from_one_second_to_half_a_minute(lives: list[float]) -> None:
    """While a worker does not stay up, and another does."""
    restarts = Restarts()
    pauses = [restarts.ended(0, lived, others_s=100) for lived in lives]
    assert pauses == [min(30.0, 2.0**n) for n in range(len(lives))]


@given(st.lists(st.floats(0, 59), max_size=20), st.floats(60, 1e6))
def test_a_worker_that_was_up_for_a_minute_begins_anew(lives: list[float], steady: float) -> None:
    """What happened before is of no account."""
    restarts = Restarts()
    for lived in lives:
        restarts.ended(0, lived, others_s=100)
    assert restarts.ended(0, steady) == 1


@given(st.lists(st.floats(0, 59), max_size=20), st.floats(5, 1e6))
def test_a_worker_that_was_killed_begins_anew_once_it_was_up(lives: list[float], lived: float) -> None:
    """It has done nothing wrong; one that dies at once is looked at all the same, whoever kills it."""
    restarts = Restarts()
    for each in lives:
        restarts.ended(0, each, others_s=100)
    assert restarts.ended(0, lived, killed=True) == 1
    assert restarts.ended(0, 4.9, others_s=100, killed=True) == 2


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 9.99), st.floats(0, 9.99)), max_size=40))
def test_it_is_given_up_only_when_one_has_ended_at_once_five_times_and_none_came_up(
    ends: list[tuple[int, float, float]],
) -> None:
    """Then, and not sooner."""
    restarts = Restarts()
    times = dict.fromkeys(range(4), 0)
    for worker, lived, others in ends:
        times[worker] += 1
        assert (restarts.ended(worker, lived, others) is None) == (times[worker] >= 5)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100)), max_size=40),
    st.tuples(st.floats(0, 100), st.floats(0, 100)).filter(lambda lives: max(lives) >= 10),
)
def test_once_one_came_up_it_is_never_given_up(after: list[tuple[int, float]], first: tuple[float, float]) -> None:
    """Whether it has ended since or another saw it running: Kafka may be away for hours."""
    restarts = Restarts()
    restarts.ended(0, *first)
    for worker, lived in after:
        assert restarts.ended(worker, lived) is not None


# What is done about it, with processes that are no gateways.


def supervisor(*commands: tuple[str, ...]) -> tuple[Supervisor, list[int]]:
    """A supervisor of one worker, which is started by one command after the other; and how often each index was."""
    started: list[int] = []

    def command(index: int) -> tuple[str, ...]:
        started.append(index)
        return commands[min(len(started), len(commands)) - 1]

    return Supervisor(command, 1, Restarts(first_s=0.01)), started


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.005)


async def test_all_workers_run_until_they_are_asked_to_stop() -> None:
    """Exit code 0: each has ended in good order."""
    started: list[int] = []

    def command(index: int) -> tuple[str, ...]:
        started.append(index)
        return WELL

    it = Supervisor(command, 3, Restarts())
    running = asyncio.create_task(it.run())
    await until(lambda: len(started) == 3)
    it.stop()
    assert await running == 0
    assert sorted(started) == [0, 1, 2]


async def test_a_worker_that_dies_is_started_again() -> None:
    """And what it died of then does not count when all end in good order."""
    it, started = supervisor(DYING, DYING, WELL)
    running = asyncio.create_task(it.run())
    await until(lambda: len(started) == 3)
    it.stop()
    assert await running == 0


def two_workers(folder: Path) -> tuple[Supervisor, list[int]]:
    """Two that live until a file with their number is there, or they are asked; and those that were started."""
    started: list[int] = []
    script = "touch up-$0; while [ ! -e drain-$0 ] && read -t 0.01 line || [ $? -gt 128 ]; do :; done"

    def command(index: int) -> tuple[str, ...]:
        started.append(index)
        return ("bash", "-c", f"cd {folder}; {script}", str(index))

    return Supervisor(command, 2, Restarts(first_s=0.01)), started


async def test_a_worker_that_was_drained_stays_down_until_a_reload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It has ended in good order, and nobody here has asked for it: then a person has, who starts it again by SIGHUP."""
    it, started = two_workers(tmp_path)
    running = asyncio.create_task(it.run())
    await until(lambda: all((tmp_path / f"up-{index}").exists() for index in (0, 1)))
    (tmp_path / "drain-1").touch()
    await until(lambda: "worker=1 was drained, stays down until a reload" in caplog.messages)
    await asyncio.sleep(0.1)
    assert sorted(started) == [0, 1]
    (tmp_path / "drain-1").unlink()
    it.hang_up()
    await until(lambda: len(started) == 3)
    assert started[2] == 1
    it.stop()
    assert await running == 0


async def test_when_the_last_was_drained_all_is_over(tmp_path: Path) -> None:
    """Exit code 0, as of a gateway without workers that is drained; nothing is started again."""
    it, started = two_workers(tmp_path)
    running = asyncio.create_task(it.run())
    await until(lambda: all((tmp_path / f"up-{index}").exists() for index in (0, 1)))
    for index in (0, 1):
        (tmp_path / f"drain-{index}").touch()
    assert await asyncio.wait_for(running, 20) == 0
    assert sorted(started) == [0, 1]


async def test_a_stop_ends_what_was_drained_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is waited for who is down already."""
    it, started = two_workers(tmp_path)
    running = asyncio.create_task(it.run())
    await until(lambda: all((tmp_path / f"up-{index}").exists() for index in (0, 1)))
    (tmp_path / "drain-0").touch()
    await until(lambda: "worker=0 was drained, stays down until a reload" in caplog.messages)
    it.stop()
    assert await asyncio.wait_for(running, 20) == 0
    assert sorted(started) == [0, 1]


@pytest.mark.parametrize(("end", "code"), [(3, 1), (2, 2)], ids=["a crash", "a configuration"])
async def test_it_gives_up_when_none_comes_up(caplog: pytest.LogCaptureFixture, end: int, code: int) -> None:
    """A line says why, and the exit code whether it is any use to start all of it again."""
    it, started = supervisor(("sh", "-c", f"exit {end}"))
    assert await asyncio.wait_for(it.run(), 20) == code
    assert len(started) == 5
    assert f"worker=0 ended code={end} again and none comes up: giving up" in caplog.messages


async def test_a_worker_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """An interpreter that is away while it is upgraded, or a machine that is out of memory, ends nobody else."""
    started: list[int] = []

    def command(index: int) -> tuple[str, ...]:
        started.append(index)
        return NOWHERE if started == [0, 1] else WELL

    it = Supervisor(command, 2, Restarts(first_s=0.01))
    running = asyncio.create_task(it.run())
    await until(lambda: len(started) == 3)
    it.stop()
    assert await running == 0
    assert started == [0, 1, 1]
    (line,) = (line for line in caplog.messages if " ended " in line and "starts again" in line)
    assert "No such file or directory" in line


async def test_it_gives_up_when_none_can_be_started(caplog: pytest.LogCaptureFixture) -> None:
    """That is for a person to look at, as one that ends at once is."""
    it, started = supervisor(NOWHERE)
    assert await asyncio.wait_for(it.run(), 20) == 1
    assert len(started) == 5
    assert "giving up" in caplog.messages[-1]


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (35, "35")])
async def test_a_worker_that_a_signal_ends_is_started_again(
    caplog: pytest.LogCaptureFixture, number: int, name: str
) -> None:
    """Those for real time have no names."""
    it, started = supervisor(("bash", "-c", f"kill -{number} $$"), WELL)
    running = asyncio.create_task(it.run())
    await until(lambda: len(started) == 2)
    it.stop()
    assert await running == 0
    assert f"worker=0 ended signal={name}, starts again in 0.01 s" in caplog.messages


async def test_every_end_of_a_worker_leaves_its_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A person waits for each, however soon it follows another: `was drained` says that a reload would start it again."""
    script = "cd $0; [ -e drained-$1 ] || { touch drained-$1; exit 0; }; exec cat"
    it = Supervisor(lambda index: ("bash", "-c", script, str(tmp_path), str(index)), 4, Restarts())
    running = asyncio.create_task(it.run())
    await until(lambda: sum("was drained" in line for line in caplog.messages) == 4)
    assert await asyncio.wait_for(running, 20) == 0
    dying, _ = supervisor(*[DYING] * 4, WELL)
    running = asyncio.create_task(dying.run())
    await until(lambda: sum("starts again" in line for line in caplog.messages) == 4)
    dying.stop()
    await running
    sampling = Sampling()
    assert sum(sampling.filter(record) for record in caplog.records if record.levelno >= logging.WARNING) == 8


async def test_a_worker_that_does_not_end_is_killed_when_asked_twice() -> None:
    """Exit code 1: it may have left something in doubt."""
    it, started = supervisor(DEAF)
    running = asyncio.create_task(it.run())
    await until(lambda: len(started) == 1)
    it.stop()
    done, _ = await asyncio.wait([running], timeout=0.1)
    assert not done
    it.kill()
    assert await running == 1


async def test_a_stop_ends_the_pause_before_a_restart() -> None:
    """Nothing is started any more."""
    started: list[int] = []

    def command(index: int) -> tuple[str, ...]:
        started.append(index)
        return DYING

    it = Supervisor(command, 1, Restarts(first_s=600))
    running = asyncio.create_task(it.run())
    await until(lambda: len(started) == 1)
    it.stop()
    await asyncio.wait_for(running, 20)
    assert started == [0]


async def test_a_changed_configuration_is_told_to_every_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As SIGHUP; who is only starting neither dies of it nor goes on with what he has read before."""
    caplog.set_level(logging.INFO, "gateway.supervise")
    script = """
import asyncio, pathlib, signal, sys
from gateway.supervise import supervised

async def main(stopping):
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, pathlib.Path(sys.argv[1]).touch)
    await stopping.wait()

asyncio.run(supervised(main))
"""
    told = [tmp_path / str(index) for index in range(2)]
    it = Supervisor(lambda index: (sys.executable, "-c", script, str(told[index])), 2, Restarts())
    running = asyncio.create_task(it.run())
    await until(lambda: sum(" started pid=" in line for line in caplog.messages) == 2)
    it.hang_up()
    await until(lambda: all(file.exists() for file in told))
    for file in told:
        file.unlink()
    it.hang_up()
    await until(lambda: all(file.exists() for file in told))
    it.stop()
    it.hang_up()
    assert await running == 0
    assert sum(" started pid=" in line for line in caplog.messages) == 2


# The command line.


def test_a_reload_does_not_end_a_gateway_that_only_starts(tmp_path: Path) -> None:
    """Its process id is in the file before it can do what it is asked: it is asked again when it can."""
    file = write(tmp_path)
    pid = tmp_path / "pid"
    command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(file), "--pidfile", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.001)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 1  # there is no Kafka


def recado(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.output


def test_no_worker_is_started_on_a_bad_configuration(tmp_path: Path) -> None:
    """It is said what is wrong with it, once and not by each, with the exit code for that."""
    file = tmp_path / "recado.toml"
    file.write_text("[kafka]\n")
    code, output = recado("run", "--config", file, "--workers", 2)
    assert code == 2
    assert output.count("cannot be used") == 1
    assert "kafka.bootstrap" in output


def test_reload_finds_the_gateway_by_its_pidfile(tmp_path: Path) -> None:
    """The process that holds the file gets SIGHUP."""
    file = tmp_path / "pid"
    got: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: got.append(number))
    try:
        with control.pidfile(file):
            assert recado("reload", "--pidfile", file) == (
                0,
                f"recado: process {os.getpid()} reads its configuration again; its log says what changed\n",
            )
            assert recado("reload", "--pid", os.getpid())[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert got == [signal.SIGHUP, signal.SIGHUP]


def test_reload_signals_nobody_when_the_gateway_is_gone(tmp_path: Path) -> None:
    """A number in a file that nobody holds may be another program's by now."""
    file = tmp_path / "pid"
    with control.pidfile(file):
        pass
    file.write_text(f"{os.getpid()}\n")
    assert recado("reload", "--pidfile", file) == (1, f"recado: no gateway runs with {file}\n")
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    pid = int(ended.stdout)
    assert recado("reload", "--pid", pid) == (1, f"recado: there is no process {pid}\n")


def test_reload_checks_the_file_first(tmp_path: Path) -> None:
    """A bad one is refused here, and the gateway is left in peace."""
    bad = tmp_path / "recado.toml"
    bad.write_text("[kafka]\n")
    with control.pidfile(tmp_path / "pid"):
        code, output = recado("reload", "--pidfile", tmp_path / "pid", "--config", bad)
    assert code == 2
    assert "kafka.bootstrap" in output


@pytest.mark.parametrize("arguments", [[], ["--pid", 1, "--pidfile", "x"], ["--pidfile", "nowhere/pid"], ["--pid", 0]])
def test_a_mistake_in_the_arguments_of_reload_is_2(arguments: list[object]) -> None:
    """One way to name the gateway, and one that exists."""
    assert recado("reload", *arguments)[0] == 2


def test_two_gateways_do_not_share_a_pidfile(tmp_path: Path) -> None:
    """The second is refused, and the file stays the first one's."""
    file = tmp_path / "pid"
    with control.pidfile(file):
        (tmp_path / "password").write_text("secret")
        config = tmp_path / "recado.toml"
        config.write_text(
            '[kafka]\nbootstrap = "127.0.0.1:1"\n[store]\nurl = "redis://s"\n[[routes]]\nlane = "a"\n[lanes.a]\n'
            'host = "h"\nport = 1\nsystem_id = "s"\npassword_file = "password"\nrate = 1\n'
        )
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "run", "--config", config, "--pidfile", file],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (1, f"recado: {file} belongs to a gateway that runs\n")
        assert control.running(file) == os.getpid()
