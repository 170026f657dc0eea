"""Which lines of a target's modules its inputs reach."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.targets import TARGETS


def share_of_lines(name: str, inputs: Iterable[bytes]) -> float:
    """Run the inputs and return the share of lines inside functions that were executed; what fails is no matter here."""
    target = TARGETS[name]
    files = [Path(str(import_module(module).__file__)) for module in target.modules]
    todo = {(str(file), line) for file in files for line in _lines(file)}
    reached: set[tuple[str, int]] = set()
    watched = {str(file) for file in files}

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in watched:
            return None
        reached.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        for octets in inputs:
            try:
                target.run(octets)
            except Exception:  # it has been told as what it is: a failure of the run
                continue
    finally:
        sys.settrace(None)
    return len(reached & todo) / len(todo)


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
