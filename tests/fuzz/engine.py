"""One target in one process under atheris, which ends the process when it is done: `python -m tests.fuzz.engine <target> …`.

What follows the target goes to libFuzzer: directories of inputs, the first of which takes what is new, and its options.
"""

from __future__ import annotations

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["smpp", "gateway"]):
    from tests.fuzz import mutate
    from tests.fuzz.targets import TARGETS

_TELL = 10_000


def main() -> None:
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    counts = [0, 0]

    def run(data: bytes) -> None:
        counts[0] += 1
        counts[1] += target.run(data)
        if counts[0] % _TELL == 0:  # libFuzzer ends the process without a word to Python
            print(f"understood {counts[1]} of {counts[0]}", file=sys.stderr, flush=True)

    def change(data: bytes, longest: int, seed: int) -> bytes:
        """Change the body as what it is, or octets anywhere."""
        if target.head is not None and seed % 4:
            start = data.find(b"\n", target.head) + 1 if target.head else 0
            changed = mutate.body(data[start:], Random(seed))
            if changed is not None and start + len(changed) <= longest:
                return data[:start] + changed
        return bytes(atheris.Mutate(data, longest))

    arguments = [sys.argv[0], f"-max_len={target.longest}", *options]
    if target.head is None:
        atheris.Setup(arguments, run)
    else:
        atheris.Setup(arguments, run, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
