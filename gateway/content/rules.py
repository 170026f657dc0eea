"""What a personalised string must be once its placeholders are filled.

A field's limit is about what the person gets, not about what the publisher wrote: `{first_name}` has 12 characters and may still
fit where 10 are allowed. So limits of strings with placeholders are not JSON Schema's `maxLength` but stand in the field's `Meta`
as a `Rule`: a text without placeholders is held to it when the job is read, any other for each recipient.
"""

import re
from collections.abc import Callable
from html import escape
from json.encoder import encode_basestring
from typing import Any

from msgspec import Meta, Struct


class Rule(Struct, frozen=True):
    """What a filled string must be, and how it is written into the JSON of its channel."""

    longest: int
    """Characters, at most; at least one is needed everywhere."""
    code: str = ""
    """What it is called in the event when the string is `wrong`."""
    breach: str = ""
    wrong: Callable[[str], bool] | None = None
    value: Callable[[str], str] | None = None
    """What is done to a recipient's value before it is filled in."""
    write: Callable[[str], str] = encode_basestring


class Fault(Struct, frozen=True):
    """Why a filled string cannot go. `text` never quotes it."""

    code: str
    text: str


def fault(rule: Rule, filled: str) -> Fault | None:
    """Return what is wrong with a filled string, or None."""
    if not filled:
        return Fault("empty", "is empty")
    if len(filled) > rule.longest:
        return Fault("too_long", f"has {len(filled)} characters, {rule.longest} are allowed")
    if rule.wrong is not None and rule.wrong(filled):
        return Fault(rule.code, rule.breach)
    return None


def up_to(longest: int) -> Rule:
    return Rule(longest)


def in_template(longest: int) -> Rule:
    """Make the rule of a template's parameter: Meta refuses such text with 132000, 132012 or 132018 as it likes.

    Its own words are "Param text cannot have new-line/tab characters or more than 4 consecutive spaces".
    """
    return Rule(longest, "whitespace", "has a line break, a tab or more than 4 spaces in a row", _has_gap)


def one_line(longest: int) -> Rule:
    """Make the rule of what becomes a header of a mail: a line break would start another header."""
    return Rule(longest, "line_break", "has a line break", _has_break)


def markup(longest: int) -> Rule:
    """Make the rule of HTML: what is the publisher's stays as it is, what is a recipient's cannot become markup."""
    return Rule(longest, value=escape)


def _has_gap(filled: str) -> bool:
    # What is printable has no line break and no tab, and asking costs a sixth of a search.
    return "     " in filled or (not filled.isprintable() and _GAPS.search(filled) is not None)


def _has_break(filled: str) -> bool:
    return not filled.isprintable() and _BREAK.search(filled) is not None


def _has_blank(filled: str) -> bool:
    return _BLANK.search(filled) is not None


def _unlike(pattern: str) -> Callable[[str], bool]:
    match = re.compile(pattern).fullmatch
    return lambda filled: match(filled) is None


_GAPS = re.compile(r"[\n\r\t]")
_BREAK = re.compile(r"[\n\r\x85\u2028\u2029]")
_BLANK = re.compile(r"\s")
_DECIMAL = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?"
_AFTER_SCHEME = r"://[^\s/?#@:]+(:[0-9]+)?([/?#]\S*)?"

URL = Rule(4096, "url", "is not an http or https URL", _unlike(r"(?i:https?)" + _AFTER_SCHEME))
HTTPS = Rule(4096, "url", "is not an https URL", _unlike(r"(?i:https)" + _AFTER_SCHEME))
# A button's URL has 2,000 characters together with what the template puts before the suffix (META/templates/components).
SUFFIX = Rule(2000, "url", "has a blank in what is appended to a URL", _has_blank)
# META/templates/marketing-templates/coupon-templates, step 2.
COUPON = Rule(20, "coupon", "is not made of letters and digits alone", _unlike(r"[A-Za-z0-9]+"))
ID = Rule(256, "id", "has a blank", _has_blank)
PHONE = Rule(16, "phone", "is not a number in E.164 with its plus sign", _unlike(r"\+[1-9][0-9]{4,14}"))
INTEGER = Rule(19, "number", "is not a whole number", _unlike(r"0|-?[1-9][0-9]*"), write=str)
DECIMAL = Rule(24, "number", "is not a decimal number", _unlike(_DECIMAL), write=str)
DEGREES = Rule(24, "number", "is not a decimal number", _unlike(_DECIMAL))


def filled(rule: Rule, description: str) -> Meta:
    """Annotate a string that may have placeholders."""
    what = f"{description} Placeholders are filled; {rule.longest} characters at most once they are."
    return Meta(description=what, extra={Rule.__name__: rule})


def rule_of(meta: Any) -> Rule | None:
    """Return the rule in one annotation of a field, if it is one."""
    return meta.extra.get(Rule.__name__) if isinstance(meta, Meta) and meta.extra else None
