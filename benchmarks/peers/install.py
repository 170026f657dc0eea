"""Fetch the peers into .cache/peers, without installing or starting any service: `python -m benchmarks.peers.install --help`.

Debian packages are unpacked, not installed, so that no daemon is started; Python and Node packages have environments of their
own.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import CACHE

JASMIN = "0.11.0"
"""The newest release on PyPI that matches receipts: in 0.11.1 the answer to a message of one part ends in an AttributeError
(SMPPClientSMListener.submit_sm_resp_event), which is mended upstream and not yet released."""

_DEBIAN = ("kannel", "kannel-extras", "rabbitmq-server")


def debian() -> None:
    """Kannel and RabbitMQ with what they need and the system has not."""
    packages, tree = CACHE / "packages", CACHE / "debian"
    packages.mkdir(parents=True, exist_ok=True)
    tree.mkdir(exist_ok=True)
    plan = _output("apt-get", "install", "--simulate", "--no-install-recommends", *_DEBIAN)
    missing = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
    _run("apt-get", "-qq", "download", *sorted({*_DEBIAN, *missing}), cwd=packages)
    versions = []
    for package in sorted(packages.glob("*.deb")):
        _run("dpkg-deb", "-x", str(package), str(tree))
        versions.append(_output("dpkg-deb", "-W", "--showformat=${Package} ${Version}\n", str(package)))
    (tree / "versions.txt").write_text("".join(versions))
    # Erlang's script knows where Debian puts it, and nothing else.
    script = tree / "usr/lib/erlang/bin/erl"
    script.write_text(script.read_text().replace("=/usr/lib/erlang", f"={tree}/usr/lib/erlang"))


def jasmin() -> None:
    """Jasmin; the description of AMQP that it reads comes with its sources only."""
    python = _venv(CACHE / "jasmin", f"jasmin=={JASMIN}")
    sources, config = CACHE / "packages", CACHE / "jasmin-config"
    config.mkdir(exist_ok=True)
    _run(
        python,
        "-m",
        "pip",
        "--quiet",
        "download",
        "--no-deps",
        "--no-binary=jasmin",
        "-d",
        str(sources),
        f"jasmin=={JASMIN}",
    )
    archive = sources / f"jasmin-{JASMIN}.tar.gz"
    member = f"jasmin-{JASMIN}/misc/config/resource/amqp0-9-1.xml"
    _run("tar", "-xzf", str(archive), "-C", str(config), "--strip-components=4", member)


def libraries() -> None:
    _venv(CACHE / "libraries", "smpplib", "aiosmpplib")


def node() -> None:
    directory = CACHE / "node"
    directory.mkdir(parents=True, exist_ok=True)
    _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), "smpp")


WHAT = {"debian": debian, "jasmin": jasmin, "libraries": libraries, "node": node}


def main(arguments: Sequence[str] | None = None) -> int:
    """Install what is named, and say of each whether it is there; the exit code is 1 if one is not."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.install", description="Fetch peers into .cache/peers."
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(WHAT)} (default: all)")
    names = parser.parse_args(arguments).what or list(WHAT)
    if unknown := set(names) - WHAT.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    failed = 0
    for name in names:
        try:
            WHAT[name]()
        except (subprocess.CalledProcessError, OSError) as error:
            failed = 1
            print(f"{name}: {error}", file=sys.stderr)
        else:
            print(f"{name}: there")
    return failed


def _venv(directory: Path, *packages: str) -> str:
    python = str(directory / "bin/python")
    _run(sys.executable, "-m", "venv", str(directory))
    _run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *packages)
    return python


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
