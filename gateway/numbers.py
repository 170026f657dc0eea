"""Whether a phone number is one that its country could have given out.

The numbering plans are those of `phonenumbers`, but its parser costs 40 µs a number. Here the patterns of a country
code are joined into one regular expression when the first number with that code comes, and checking is one match. A
number is judged as it is written: one that the library would first repair (a trunk prefix left in, the `1` that
followed +52 before 2019) is invalid.
"""

import re
from collections.abc import Callable, Iterator

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

NOT_E164 = "not E.164: a plus sign and 8 to 15 digits"
NO_SUCH_COUNTRY_CODE = "no such country code"
NOT_IN_PLAN = "not in the numbering plan of its country code"

_REGIONS = {str(code): regions for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()}

# The kinds of number that the library knows, the likely ones first: an alternation is tried from the left.
_KINDS = (
    "mobile",
    "fixed_line",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
)

_E164 = re.compile(r"\+[0-9]{8,15}")

_Matcher = Callable[[str], object]

# By the plus sign and the three digits in which every country code shows itself: at most 1,000 keys.
_matchers: dict[str, _Matcher] = {}
_matcher_of_code: dict[str, _Matcher] = {}


def check(number: str) -> str | None:
    """Return why `number` is invalid (one of the three reasons above), or None when it is valid."""
    matches = _matchers.get(number[:4])
    if matches is None:
        matches = _learn(number)
    return None if matches(number) else _reason(number)


def country_code(number: str) -> str | None:
    """Return the country calling code of an international number without its plus sign, or None if there is none."""
    if number.startswith("+"):
        for end in (2, 3, 4):
            if number[1:end] in _REGIONS:
                return number[1:end]
    return None


def _learn(number: str) -> _Matcher:
    code = country_code(number)
    if code is None or len(number) < 4:
        return _never
    matches = _matcher_of_code.get(code)
    if matches is None:
        # Every region of a shared code (+1, +7, +44 …) repeats some patterns of the others.
        patterns = dict.fromkeys(pattern for region in _REGIONS[code] for pattern in _patterns(code, region))
        matches = re.compile(rf"\+(?=\d{{8,15}}\Z){code}(?:{'|'.join(patterns)})", re.ASCII).fullmatch
        _matcher_of_code[code] = matches
    if number[1:4].isdecimal() and number.isascii():
        _matchers[number[:4]] = matches
    return matches


def _patterns(code: str, region: str) -> Iterator[str]:
    # A number of any kind also fits the region's general pattern, and a pattern implies its lengths: the test against
    # the library over every country code would show a release of its metadata where that is no longer so.
    plan = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
    for kind in _KINDS:
        description = getattr(plan, kind)
        if description is not None and description.national_number_pattern:
            yield description.national_number_pattern


def _never(_number: str) -> None:
    return None


def _reason(number: str) -> str:
    if not _E164.fullmatch(number):
        return NOT_E164
    return NOT_IN_PLAN if country_code(number) else NO_SUCH_COUNTRY_CODE
