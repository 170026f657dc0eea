"""The same targets without a guide: `python -m tests.fuzz.blind --runs 10000000 job session`.

Changes what guided runs have found, and does not look at what that reaches: some ten times as many inputs a second. The same
seed makes the same inputs. An input that fails ends the run of its target, is printed in hexadecimal and written to
`.cache/fuzz/<target>/`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from random import Random

from tests.fuzz import mutate
from tests.fuzz.targets import TARGETS, starts

_FOUND = Path(__file__).parents[2] / ".cache" / "fuzz"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.blind", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}; all if none is named")
    parser.add_argument("--runs", type=int, default=10_000_000, help="inputs for each target (10,000,000)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    for name in given.targets or TARGETS:
        fuzz(name, given.runs, given.seed)


def fuzz(name: str, runs: int, seed: int) -> None:
    """Run one target to its end; the first input that fails is raised."""
    target = TARGETS[name]
    folder = _FOUND / name
    inputs = [*starts(name), *(file.read_bytes() for file in sorted((folder / "found").glob("*")))]
    random = Random(f"{name} {seed}")
    understood = 0
    began = time.monotonic()
    for number in range(runs):
        octets = mutate.any_of(inputs, target.head, random)[: target.longest]
        try:
            understood += target.run(octets)
        except Exception:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"blind-{seed}-{number}").write_bytes(octets)
            print(f"{name} fails at input {number} of seed {seed}: {octets.hex()}", flush=True)
            raise
    rate = int(runs / (time.monotonic() - began))
    print(f"{name:10}{runs:12,}{rate:9,} per s{understood / runs:8.0%} understood", flush=True)


if __name__ == "__main__":
    main()
