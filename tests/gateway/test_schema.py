"""The schemas in docs/ are those of the structs, and say what the decoder does."""

import json
from pathlib import Path

import pytest

from gateway.model import Job
from gateway.schema import SCHEMAS, schema, write

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schema_is_that_of_the_struct(name: str) -> None:
    """After a change of the contract, run `python -m gateway.schema`."""
    assert (DOCS / name).read_text(encoding="utf-8") == schema(SCHEMAS[name])


def test_every_schema_is_written(tmp_path: Path) -> None:
    """One file each, and each is JSON."""
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(SCHEMAS)
    assert all(json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir())


def test_a_job_with_unknown_keys_is_invalid_by_the_schema_too() -> None:
    """What the decoder refuses, a publisher's validator refuses before."""
    definitions = json.loads(schema(Job))["$defs"]
    assert definitions["Job"]["additionalProperties"] is False
    assert definitions["Recipient"]["additionalProperties"] is False
