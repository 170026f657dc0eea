"""Fuzz every target, or those that are named: `make fuzz`, or `python -m tests.fuzz --runs 10000000 pdu session`.

Inputs that reached something new stay in `.cache/fuzz` and are where the next run starts; `--keep` distils them into the
repository. An input that fails is written beside them, and its traceback printed: the run of its target ends
there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from tests.fuzz.reached import distilled, share_of_lines
from tests.fuzz.targets import KEPT, TARGETS, starts

_WORK = Path(__file__).parents[2] / ".cache" / "fuzz"
_ROOT = Path(__file__).parents[2]
_WORDS = re.compile(rb"[A-Za-z0-9_:. -]{3,24}")
_CHATTER = re.compile(r"#[0-9]|INFO:|WARNING:|understood ")
_SLOW_S = 10
"""For one input: what takes longer is a bug like another."""


class Outcome(Struct, frozen=True):
    """What a run of one target came to; `understood` is the share of inputs that were not simply refused."""

    name: str
    runs: int
    seconds: float
    edges: int
    understood: float
    failure: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}; all if none is named")
    parser.add_argument("--runs", type=int, default=10_000_000, help="inputs for each target (10,000,000)")
    parser.add_argument("--seconds", type=int, default=0, help="for each target at most")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (2)")
    parser.add_argument("--keep", action="store_true", help="distil what was found into the repository")
    given = parser.parse_args()
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    names = given.targets or list(TARGETS)
    print(f"{'target':10}{'inputs':>12}{'per s':>9}{'edges':>7}{'lines':>8}{'understood':>12}")
    failed = False
    with ThreadPoolExecutor(given.jobs) as pool:
        for outcome in pool.map(lambda name: fuzz(name, given.runs, given.seconds), names):
            inputs = [*_inputs(outcome.name), *starts(outcome.name)]
            lines = share_of_lines(outcome.name, inputs)
            rate = int(outcome.runs / outcome.seconds)
            print(
                f"{outcome.name:10}{outcome.runs:12,}{rate:9,}{outcome.edges:7}{lines:8.0%}{outcome.understood:12.0%}",
                flush=True,
            )
            if outcome.failure:
                failed = True
                print(outcome.failure)
            if given.keep:
                keep(outcome.name)
    return 1 if failed else 0


def fuzz(name: str, runs: int, seconds: int) -> Outcome:
    """Run one target to its end, or to the first input that fails."""
    found, seeds = _folders(name)
    options = [
        f"-runs={runs}",
        f"-max_total_time={seconds}",
        f"-timeout={_SLOW_S}",
        f"-artifact_prefix={found.parent}/",
    ]
    began = time.monotonic()
    output = _engine(name, str(found), str(seeds), f"-dict={found.parent}/words", *options)
    return _read(name, output, time.monotonic() - began)


def keep(name: str) -> None:
    """Write the inputs into the repository that take a step of their own, but for the seeds."""
    own = set(TARGETS[name].seeds())
    found = [octets for octets in distilled(name, {*_inputs(name), *starts(name)}) if octets not in own]
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{name}.txt").write_text("".join(f"{octets.hex()}\n" for octets in found))


def _folders(name: str) -> tuple[Path, Path]:
    """Return where new inputs go and where those are from which to start, with these in it."""
    found, seeds = _WORK / name / "found", _WORK / name / "seeds"
    for folder in (found, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    words = set()
    for octets in starts(name):
        (seeds / sha256(octets).hexdigest()[:16]).write_bytes(octets)
        words |= set(_WORDS.findall(octets))
    (_WORK / name / "words").write_text("# words\n" + "".join(f'"{word.decode()}"\n' for word in sorted(words)))
    return found, seeds


def _inputs(name: str) -> Iterator[bytes]:
    yield from (file.read_bytes() for file in (_WORK / name / "found").iterdir())


def _engine(name: str, *options: str) -> str:
    command = [sys.executable, "-m", "tests.fuzz.engine", name, *options]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode("utf-8", "replace")


def _read(name: str, output: str, seconds: float) -> Outcome:
    done = re.search(r"Done (\d+) runs in", output)
    edges = re.findall(r"cov: (\d+)", output)
    progress = re.findall(r"understood (\d+) of (\d+)", output)
    taken, seen = map(int, progress[-1]) if progress else (0, 1)
    runs = int(done[1]) if done else seen
    failure = "" if done else "\n".join(line for line in output.splitlines() if not _CHATTER.match(line))
    return Outcome(name, runs, seconds, int(edges[-1]) if edges else 0, taken / seen, failure)


if __name__ == "__main__":
    sys.exit(main())
