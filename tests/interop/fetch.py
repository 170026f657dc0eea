"""Fetch what the tests of interoperability talk to, into `.cache/interop`: `python -m tests.interop.fetch`. No test does it."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.interop.peers import JARS, MODULES, NODE_SMPP, PEERS


def main() -> int:
    missing = [tool for tool in ("npm", "mvn") if shutil.which(tool) is None]
    if "npm" not in missing:
        MODULES.parent.mkdir(parents=True, exist_ok=True)
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--silent")
        subprocess.run(["npm", "install", *options, "--prefix", str(MODULES.parent), NODE_SMPP], check=True)
    if "mvn" not in missing:
        goal = ("dependency:copy-dependencies", f"-DoutputDirectory={JARS}")
        subprocess.run(["mvn", "-B", "-q", "-ntp", "-f", str(PEERS / "pom.xml"), *goal], check=True)
    for tool in missing:
        print(f"{tool} is not installed: its peers are skipped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
