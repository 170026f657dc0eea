"""What inputs reach in the modules of a target: lines, and from which line each was come to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeAlias

from tests.fuzz.targets import TARGETS

Step: TypeAlias = tuple[str, int, int]
"""File, line before (0 at the start of a call), line."""


def distilled(name: str, inputs: Iterable[bytes]) -> list[bytes]:
    """Return the inputs without which a step would not be taken, the shortest of those that take it."""
    modules = _Modules(name)
    taken: set[Step] = set()
    kept = []
    for octets in sorted(inputs, key=lambda each: (len(each), each)):
        steps = modules.steps(octets)
        if not steps <= taken:
            taken |= steps
            kept.append(octets)
    return kept


def share_of_lines(name: str, inputs: Sequence[bytes]) -> float:
    """Return the share of lines inside functions that the inputs reach."""
    modules = _Modules(name)
    reached = {(file, line) for octets in inputs for file, _, line in modules.steps(octets)}
    todo = {(file, line) for file in modules.files for line in _lines(Path(file))}
    return len(reached & todo) / len(todo)


class _Modules:
    """The modules of a target, watched."""

    def __init__(self, name: str) -> None:
        self._run = TARGETS[name].run
        self.files = {str(import_module(module).__file__) for module in TARGETS[name].modules}

    def steps(self, octets: bytes) -> set[Step]:
        """Run one input; that it fails is no matter here."""
        steps: set[Step] = set()
        before: dict[FrameType, int] = {}

        def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
            file = frame.f_code.co_filename
            if file not in self.files:
                return None
            steps.add((file, before.get(frame, 0), frame.f_lineno))
            before[frame] = frame.f_lineno
            return trace

        sys.settrace(trace)
        try:
            self._run(octets)
        except Exception:  # it has been told as what it is: a failure of the run
            return steps
        finally:
            sys.settrace(None)
        return steps


def _lines(file: Path) -> Iterator[int]:
    code = compile(file.read_text(encoding="utf-8"), str(file), "exec")
    for function in _nested(code):
        yield from (line for _, _, line in function.co_lines() if line and line > function.co_firstlineno)


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 0x02 and constant.co_name != "<lambda>":  # a function, not the body of a class
                yield constant
            yield from _nested(constant)
