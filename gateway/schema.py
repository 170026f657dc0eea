"""The JSON Schemas of the contract: `python -m gateway.schema` writes them into docs/."""

from pathlib import Path

import msgspec

from gateway.model import Dead, Event, Inbound, Job

SCHEMAS: dict[str, type[msgspec.Struct]] = {
    "job.schema.json": Job,
    "event.schema.json": Event,
    "inbound.schema.json": Inbound,
    "dead.schema.json": Dead,
}


def schema(model: type[msgspec.Struct]) -> str:
    """Return the JSON Schema (draft 2020-12) of one of the contract's structs, as the text of its file."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(model)
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def write(folder: Path) -> None:
    """Write every schema into `folder`."""
    for name, model in SCHEMAS.items():
        (folder / name).write_text(schema(model), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent.parent / "docs")
