"""`recado` with a wall clock that can be stepped, which needs no rights of a superuser: SIGUSR1 puts it back by an hour."""

import signal
import time

from gateway.cli import main

_unstepped = time.time
_offset_s = 0.0


def _step(*_: object) -> None:
    global _offset_s  # noqa: PLW0603 - there is one wall clock
    _offset_s -= 3600


def _stepped() -> float:
    return _unstepped() + _offset_s


if __name__ == "__main__":
    time.time = _stepped
    signal.signal(signal.SIGUSR1, _step)
    main()
