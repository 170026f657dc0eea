"""No await on a socket is without a deadline: a peer that says nothing must not stop anything for ever."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WAITS = frozenset(
    (
        *("open_connection", "create_connection", "open_unix_connection", "connect", "getaddrinfo", "start_tls"),
        *("read", "readexactly", "readline", "readuntil", "read_response", "recv", "sock_recv", "sock_connect"),
        *("drain", "sendall", "sock_sendall", "send_packed_command", "wait_closed", "request"),
    )
)
"""What waits for a peer, in asyncio and in the libraries that are used below their own time limits."""

ELSEWHERE = {
    ("gateway/store.py", "_call"): "within the timeout of `run_packed`, its only caller",
    ("gateway/embedded.py", "_answers"): "within the patience of `_until_ready`, its only caller",
    ("smpp/link.py", "_open"): "within the connect_timeout of `_connect`, its only caller",
    ("gateway/mail.py", "_connected"): "the library's own, which is the lane's `timeout_s`",
    ("gateway/providers/http_client.py", "send"): "the library's own, which is the lane's `timeout_s`",
}
"""Functions whose deadline is not in them, and where it is."""

_NOT_CARRYING = ("simulator", "simulators", "demo", "cli")
"""What carries no message; a command is ended by whoever gave it."""


class _Waits(ast.NodeVisitor):
    """Finds awaits of `WAITS` and whether an `asyncio.timeout` is around them in their function."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int, bool]] = []
        self._function = ""
        self._bounded = 0

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        function, bounded = self._function, self._bounded
        self._function, self._bounded = node.name, 0
        self.generic_visit(node)
        self._function, self._bounded = function, bounded

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        bounds = any(_called(item.context_expr) in ("timeout", "timeout_at") for item in node.items)
        self._bounded += bounds
        self.generic_visit(node)
        self._bounded -= bounds

    def visit_Await(self, node: ast.Await) -> None:
        if _called(node.value) in WAITS:
            self.found.append((self._function, node.lineno, self._bounded > 0 or _has_own(node.value)))
        self.generic_visit(node)


def _called(node: ast.expr) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _has_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and any(keyword.arg == "timeout" for keyword in node.keywords)


def _waits() -> Iterator[tuple[str, str, int, bool]]:
    for package in ("gateway", "smpp", "ratelimit"):
        for file in sorted((ROOT / package).rglob("*.py")):
            if not set(_NOT_CARRYING) & set(file.parts):
                visitor = _Waits()
                visitor.visit(ast.parse(file.read_text(encoding="utf-8")))
                for function, line, bounded in visitor.found:
                    yield file.relative_to(ROOT).as_posix(), function, line, bounded


def test_every_wait_for_a_peer_has_a_deadline() -> None:
    """In its function, or where the table says."""
    waits = list(_waits())
    bare = [(file, function, line) for file, function, line, bounded in waits if not bounded]
    assert [each for each in bare if each[:2] not in ELSEWHERE] == []
    assert ELSEWHERE.keys() == {each[:2] for each in bare}
