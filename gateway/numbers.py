"""Whether a phone number is one that its country could have given out, and which country that is.

The numbering plans are those of `phonenumbers`, but its parser costs 40 µs a number. Here the patterns of a country
code are joined into one regular expression when the first number with that code comes, and checking is one match. A
number is judged as it is written: one that the library would first repair (a trunk prefix left in, the `1` that
followed +52 before 2019) is invalid.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

NOT_E164 = "not E.164: a plus sign and 8 to 15 digits"
NO_SUCH_COUNTRY_CODE = "no such country code"
NOT_IN_PLAN = "not in the numbering plan of its country code"

_REGIONS = {str(code): regions for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()}

# The library's word for codes of no country, such as +800.
_NO_COUNTRY = "001"
_CODE_OF_COUNTRY = {
    country: code for code, regions in _REGIONS.items() for country in regions if country != _NO_COUNTRY
}

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
_CountryOf = Callable[[str], str]

# By the plus sign and the three digits in which every country code shows itself: at most 1,000 keys.
_matchers: dict[str, _Matcher] = {}
_matcher_of_code: dict[str, _Matcher] = {}
_countries: dict[str, str | _CountryOf] = {}
_country_of_code: dict[str, _CountryOf] = {}


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


def calling_code(country: str) -> str | None:
    """Return the calling code of a country (ISO 3166, two letters) without its plus sign, or None if it has none."""
    return _CODE_OF_COUNTRY.get(country)


def shares_code(country: str) -> bool:
    """Whether other countries have the calling code of this one, too: +1, +7, +44 …"""
    return len(_REGIONS[_CODE_OF_COUNTRY[country]]) > 1


def country(number: str) -> str:
    """Return the country (ISO 3166, two letters) of a number that `check` finds valid; empty for +800 and its like."""
    found = _countries.get(number[:4])
    if found is None:
        found = _learn_country(number)
    return found if isinstance(found, str) else found(number)


def _learn_country(number: str) -> str | _CountryOf:
    code = country_code(number)
    if code is None:
        return ""
    regions = _REGIONS[code]
    if len(regions) == 1:
        found: str | _CountryOf = regions[0] if regions[0] != _NO_COUNTRY else ""
    else:
        found = _country_of_code.get(code) or _country_of_code.setdefault(code, _among(code, regions))
    if number[1:4].isdecimal() and number.isascii():
        _countries[number[:4]] = found
    return found


def _among(code: str, regions: Sequence[str]) -> _CountryOf:
    """Tell the countries of a shared code apart, in the library's order, which puts the main one first.

    Most have digits of their own that a number begins with; the others know their numbers by the plan.
    """
    own = []
    for region in regions:
        leading = _plan(code, region).leading_digits
        pattern = rf"(?:{leading})\d*" if leading else "|".join(_patterns(code, region))
        own.append(f"(?P<{region}>{pattern})")
    matches = re.compile(rf"\+{code}(?:{'|'.join(own)})", re.ASCII).fullmatch

    def country_of(number: str) -> str:
        found = matches(number)
        return found.lastgroup or "" if found else ""

    return country_of


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
    plan = _plan(code, region)
    for kind in _KINDS:
        description = getattr(plan, kind)
        if description is not None and description.national_number_pattern:
            yield description.national_number_pattern


def _plan(code: str, region: str) -> PhoneMetadata:
    plan = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
    assert plan is not None, region
    return plan


def _never(_number: str) -> None:
    return None


def _reason(number: str) -> str:
    if not _E164.fullmatch(number):
        return NOT_E164
    return NOT_IN_PLAN if country_code(number) else NO_SUCH_COUNTRY_CODE


_ADDRESS = re.compile(r"[^@\s<>,;:\"()\[\]\\\x00-\x1f]{1,64}@(?=.{1,189}\Z)[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


def check_address(address: str) -> str | None:
    """Return why an address of mail cannot be one, or None. Quoted local parts and addresses without a domain are refused."""
    return None if _ADDRESS.fullmatch(address) else "is not an address of mail"
