"""`recado` with a wall clock that can be stepped, which needs no rights of a superuser: SIGUSR1 puts it back by an hour.

SIGUSR2 puts it ahead by a day and an hour.
"""

import signal
import time

from gateway.cli import main

_unstepped = time.time
_offset_s = 0.0
_STEPS = {signal.SIGUSR1: -3600, signal.SIGUSR2: 25 * 3600}


def _step(number: int, _: object) -> None:
    global _offset_s  # noqa: PLW0603 - there is one wall clock
    _offset_s += _STEPS[number]


def _stepped() -> float:
    return _unstepped() + _offset_s


if __name__ == "__main__":
    time.time = _stepped
    for number in _STEPS:
        signal.signal(number, _step)
    main()
