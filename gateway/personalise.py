"""A job's text as a template: compiled once a job, filled once a recipient."""

import re
from collections.abc import Callable, Mapping
from operator import itemgetter

from gateway.errors import GatewayError, InvalidJob, MissingParameter

Value = str | int | float

_LONGEST = 1_000_000
"""Characters of a text in which placeholders repeat; more than any record of ours holds. Where none does, a text cannot grow
beyond what the publisher wrote."""

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")


class TooLong(GatewayError):
    """A recipient whose values a text would multiply beyond measure: that recipient is rejected, the others go."""


class Template:
    """A text with `{name}` placeholders; `{{` and `}}` stand for the braces themselves.

    A name is an identifier and nothing more: no positions, attributes, indexes, conversions or format specifications.
    Anything else raises `InvalidJob`, which says where and never quotes the text.
    """

    __slots__ = ("_format", "_pick", "_repeats", "names", "text")

    def __init__(self, text: str) -> None:
        pieces: list[str] = []
        names: list[str] = []
        end = 0
        for token in _TOKEN.finditer(text):
            pieces.append(text[end : token.start()].replace("%", "%%"))
            end = token.end()
            name = token["name"]
            if name is not None and name.isidentifier():
                pieces.append("%s")
                names.append(name)
            elif token[0] in ("{{", "}}"):
                pieces.append(token[0][0])
            else:
                raise InvalidJob(_fault(name, token.start()))
        pieces.append(text[end:].replace("%", "%%"))
        self._format = "".join(pieces)
        self.names = tuple(names)
        self._repeats = len(set(names)) < len(names)
        self.text = "" if names else self._format % ()
        self._pick: Callable[[Mapping[str, Value]], Value | tuple[Value, ...]] | None
        self._pick = itemgetter(*names) if names else None

    def render(self, params: Mapping[str, Value]) -> str:
        """Fill the placeholders, or raise `MissingParameter` or `TooLong`; parameters that the text lacks are ignored.

        Numbers appear as Python writes them (10, 10.0, 1e+22): who wants thousands separators sends a string.
        """
        if self._pick is None:
            return self.text
        try:
            values = self._pick(params)
        except KeyError as exc:
            raise MissingParameter(exc.args[0]) from None
        if self._repeats and isinstance(values, tuple):
            length = sum(len(str(value)) for value in values)
            if length > _LONGEST:
                raise TooLong(f"its values have {length} characters, {_LONGEST} are allowed")
        return self._format % values


def _fault(name: str | None, position: int) -> str:
    where = f"at character {position + 1} of text"
    if name is None:
        return f"a brace without its partner {where}; a brace itself is written twice"
    return f"the placeholder {where} is not a plain {{name}}"
