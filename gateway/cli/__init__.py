"""The command line: `recado`, or `python -m gateway.cli`.

Exit codes: 0 done, 1 failed, 2 a mistake in the arguments or the configuration, 130 interrupted before the end.
"""

from gateway.cli.commands import app, main

__all__ = ["app", "main"]
