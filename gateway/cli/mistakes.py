"""What a person can act on, in one line and with the right exit code. A bug keeps its traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import typer
from aiokafka.errors import KafkaConnectionError, KafkaError

from gateway.campaign import UnusableFile
from gateway.cli.terminal import fail, say
from gateway.config import Config
from gateway.config import load as load_config
from gateway.errors import ConfigError, GatewayError


def load(file: Path) -> Config:
    """Read a configuration, or end the command with every problem in it."""
    try:
        return load_config(file)
    except ConfigError as error:
        _refuse(f"{file} cannot be used", error)


def reason(error: BaseException) -> str:
    """What an exception says, or its name: some of Kafka's say nothing."""
    return str(error) or type(error).__name__


@contextlib.contextmanager
def explained(config: Config) -> Iterator[None]:
    """End the command with a line for what goes wrong outside of this program."""
    servers = ", ".join(config.kafka.servers)
    try:
        yield
    except KafkaConnectionError:
        fail(f"cannot reach Kafka at {servers}: is it there, and are kafka.tls and kafka.sasl_* as it wants them?")
    except KafkaError as error:
        fail(f"Kafka at {servers}: {reason(error)}")
    except ConfigError as error:
        _refuse("the configuration cannot be used on this machine", error)
    except GatewayError as error:
        fail(str(error))


def _refuse(what: str, error: ConfigError) -> NoReturn:
    say(f"recado: {what}")
    for problem in error.problems:
        say(f"  {problem}")
    raise typer.Exit(2) from None


@contextlib.contextmanager
def readable(file: Path) -> Iterator[None]:
    """End the command with a line for what is wrong with a file that a person named."""
    try:
        yield
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", 2)
    except UnicodeDecodeError:
        fail(f"{file} is not UTF-8: save it as such", 2)
    except UnusableFile as error:
        fail(f"{file}: {error}", 2)
