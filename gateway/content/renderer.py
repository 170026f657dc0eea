"""What a job says to one recipient: JSON that was written once, with the strings that differ filled in."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from gateway.content.rules import Rule, fault
from gateway.errors import GatewayError
from gateway.personalise import Template, Value


class Unrenderable(GatewayError):
    """A recipient whose values do not fit: that recipient is rejected, the others go. `text` quotes no value."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Rendered(Struct, frozen=True, gc=False):
    """What goes to one recipient: SMS has a `text`, every other channel a `content`."""

    text: str
    content: str
    """The JSON object that a provider splices into its request; empty for SMS."""


class Slot:
    """One string that differs between recipients."""

    __slots__ = ("_longest", "_render", "_wrong", "names", "path", "rule", "write")

    def __init__(self, path: str, rule: Rule, template: Template) -> None:
        self.path = path
        self.rule = rule
        self.names = template.names
        self.write = rule.write
        self._render = template.render
        self._longest = rule.longest
        self._wrong = rule.wrong

    def fill(self, params: Mapping[str, Value]) -> str:
        """Return the filled string as it stands in the JSON; raises `MissingParameter` or `Unrenderable`."""
        if (change := self.rule.value) is not None:
            params = {name: change(str(params[name])) for name in self.names if name in params}
        filled = self._render(params)
        wrong = self._wrong
        if not 0 < len(filled) <= self._longest or (wrong is not None and wrong(filled)):
            breach = fault(self.rule, filled)
            assert breach is not None  # the same conditions, put into words
            raise Unrenderable(breach.code, f"{self.path} {breach.text}")
        return self.write(filled)


class Renderer:
    """What `compile` makes of a content; `render` is called once a recipient."""

    __slots__ = ("_format", "_rendered", "_slots", "_text")

    def __init__(self, pattern: str, slots: list[Slot], text: Template | None = None) -> None:
        """Take the JSON as a %-format of the slots, or the text of an SMS."""
        self._format = pattern
        self._slots = slots
        self._text = text
        self._rendered = None if slots or text is not None else Rendered("", pattern % ())

    def render(self, params: Mapping[str, Value]) -> Rendered:
        """Fill in one recipient's values; parameters that nothing asks for are ignored.

        Raises `MissingParameter`, or `Unrenderable` for what does not fit where it was filled in.
        """
        if self._text is not None:
            if not (text := self._text.render(params)):
                raise Unrenderable("empty", "text is empty")
            return Rendered(text, "")
        if self._rendered is not None:
            return self._rendered
        return Rendered("", self._format % tuple([slot.fill(params) for slot in self._slots]))
