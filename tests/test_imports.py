"""The directions of imports: what a package may know of the others (docs/design.md, "The way of a message")."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
OURS = {"smpp", "ratelimit", "gateway", "benchmarks", "tests"}
MAY_IMPORT = {"smpp": {"smpp"}, "ratelimit": {"ratelimit"}, "gateway": {"gateway", "smpp", "ratelimit"}}
MAY_KNOW_REDIS = {"ratelimit/lease.py", "gateway"}  # a file or a package
FILES = [file.relative_to(REPOSITORY) for package in MAY_IMPORT for file in (REPOSITORY / package).rglob("*.py")]


@pytest.mark.parametrize("file", sorted(FILES), ids=str)
def test_imports_keep_their_direction(file: Path) -> None:
    """The protocol and the rate limits stand alone and the gateway uses both; Redis is known where state is shared."""
    imported = _imported_by(REPOSITORY / file)
    assert imported & OURS <= MAY_IMPORT[file.parts[0]]
    assert "redis" not in imported or {file.as_posix(), file.parts[0]} & MAY_KNOW_REDIS


def _imported_by(file: Path) -> set[str]:
    """Return the top-level packages that a file imports, wherever in the file; a relative import stays in its own."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names}
