"""`python -m gateway.cli`: for processes that have no `recado` in their path."""

from gateway.cli import main

main()
