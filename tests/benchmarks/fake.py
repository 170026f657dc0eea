"""A benchmark that does as it is told: `ok`, `missed`, `printed` (no file) or `broken`."""

import argparse
import sys
from pathlib import Path

RESULT = '{"benchmark": "fake", "messages_per_s": 1234.5}'

parser = argparse.ArgumentParser()
parser.add_argument("how")
parser.add_argument("--json", type=Path)
given = parser.parse_args()
sys.stderr.write("measuring\n")
if given.how == "broken":
    raise SystemExit("there is no broker")
if given.how == "printed":
    sys.stdout.write(f"a table\n{RESULT}\n")
else:
    given.json.write_text(RESULT)
sys.exit(given.how == "missed")
