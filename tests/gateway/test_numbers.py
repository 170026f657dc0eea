"""Numbers: the same verdict as the library, for every country code, at a fiftieth of its cost."""

import random
import subprocess
import sys
from itertools import product
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.numbers import (
    NO_SUCH_COUNTRY_CODE,
    NOT_E164,
    NOT_IN_PLAN,
    calling_code,
    check,
    country,
    country_code,
    shares_code,
)

KINDS = (
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
FREQUENT = (1, 34, 44, 51, 52, 53, 54, 55, 56, 57, 58, 351, 502, 503, 504, 505, 506, 507, 509, 591, 593, 595, 598)


def valid_by_the_library(number: str) -> bool:
    """The library's verdict on a number as it is written: one that it has to repair is not E.164."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    written = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return written == number and 9 <= len(number) <= 16 and phonenumbers.is_valid_number(parsed)


def candidates(code: int, count: int) -> list[str]:
    """Numbers near the examples of every region and kind of a country code, some valid and some not."""
    rng = random.Random(code)
    plans = [
        phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]
    ]
    kinds = [kind for plan, name in product(plans, KINDS) if (kind := getattr(plan, name))]
    lengths = sorted({length for kind in kinds for length in kind.possible_length})
    examples = [kind.example_number for kind in kinds if kind.example_number]
    numbers = [*examples, *("0" + example for example in examples), *("1" + example for example in examples)]
    for _ in range(count):
        example = rng.choice(examples)
        kept = rng.randrange(len(example))
        digits = example[:kept] + "".join(rng.choices("0123456789", k=17))
        numbers.append(digits[: rng.choice([*lengths, len(example)])])
    return [f"+{code}{digits}" for digits in numbers]


@pytest.mark.parametrize("code", FREQUENT)
def test_verdicts_agree_with_the_library_where_our_users_are(code: int) -> None:
    """Hundreds of numbers for each country code of Latin America, the US, Spain, Portugal and Great Britain."""
    for number in candidates(code, 400):
        assert (check(number) is None) == valid_by_the_library(number), number


def test_verdicts_agree_with_the_library_everywhere() -> None:
    """Every country code, shared and non-geographic ones too; both verdicts occur often."""
    verdicts = []
    for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        for number in candidates(code, 12):
            verdicts.append(check(number) is None)
            assert verdicts[-1] == valid_by_the_library(number), number
    assert min(verdicts.count(True), verdicts.count(False)) > 1000


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("+573001234567", None),
        ("+5511987654321", None),
        ("+525512345678", None),
        ("+18095551234", None),
        ("+80012345678", None),
        ("+5215512345678", NOT_IN_PLAN),
        ("+575001234567", NOT_IN_PLAN),
        ("+5730012345678", NOT_IN_PLAN),
        ("+5501198765432", NOT_IN_PLAN),
        ("+2100000000", NO_SUCH_COUNTRY_CODE),
        ("+0000000000", NO_SUCH_COUNTRY_CODE),
        ("", NOT_E164),
        ("+", NOT_E164),
        ("+57", NOT_E164),
        ("573001234567", NOT_E164),
        ("+57 3001234567", NOT_E164),
        ("+573001234567\n", NOT_E164),
        (" +573001234567", NOT_E164),
        ("+57300123456７", NOT_E164),
        ("+٥٧3001234567", NOT_E164),
        ("tel:+573001234567", NOT_E164),
        ("+5730012345678901", NOT_E164),
        ("89000", NOT_E164),
    ],
)
def test_an_invalid_number_has_a_reason(number: str, reason: str | None) -> None:
    """Also Mexican numbers with the 1 that was dropped in 2019, trunk prefixes, and digits that are not ASCII."""
    assert check(number) == reason


@given(st.text(max_size=20) | st.from_regex(r"\+\d{0,17}"))
def test_no_text_is_too_strange(number: str) -> None:
    """Anything gets a verdict, and what is valid is E.164."""
    if check(number) is None:
        assert number.isascii()
        assert number[0] == "+"
        assert number[1:].isdecimal()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("+573001234567", "57"),
        ("+593991234567", "593"),
        ("+12125551234", "1"),
        ("+18095551234", "1"),
        ("+80012345678", "800"),
        ("+2100000000", None),
        ("+", None),
        ("573001234567", None),
    ],
)
def test_the_country_code_is_what_the_number_begins_with(number: str, code: str | None) -> None:
    """No country code is the beginning of another."""
    assert country_code(number) == code


def test_countries_agree_with_the_library_everywhere() -> None:
    """Of valid numbers of every country code, of those that share one and those of no country, too."""
    seen = set()
    for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        for number in candidates(code, 12):
            if check(number) is None:
                theirs = phonenumbers.region_code_for_number(phonenumbers.parse(number))
                assert country(number) == ("" if theirs == "001" else theirs), number
                seen.add(theirs)
    assert len(seen) > 200


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+573001234567", "CO"),
        ("+18095551234", "DO"),
        ("+17875551234", "PR"),
        ("+12125551234", "US"),
        ("+77011234567", "KZ"),
        ("+79161234567", "RU"),
        ("+447400123456", "GB"),
        ("+80012345678", ""),
        ("+2100000000", ""),
        ("", ""),
        ("+1", ""),
    ],
)
def test_a_number_has_a_country(number: str, expected: str) -> None:
    """Or none: +800 and its like, and what is no number at all."""
    assert country(number) == expected


def test_a_country_has_a_calling_code() -> None:
    """Which it may share; what is no country has none."""
    assert [calling_code(code) for code in ("CO", "DO", "EC", "001", "XX", "co")] == [
        "57",
        "1",
        "593",
        None,
        None,
        None,
    ]
    assert [shares_code(code) for code in ("CO", "BR", "DO", "US", "KZ")] == [False, False, True, True, True]


def test_only_the_plans_that_are_needed_are_loaded() -> None:
    """Importing loads no region's metadata and a check only those of its country code."""
    loaded = (
        "import sys; from gateway.numbers import check, country; "
        "count = lambda: sum(m.startswith('phonenumbers.data.region_') for m in sys.modules); "
        "before = count(); check('+573001234567'); country('+525512345678'); print(before, count())"
    )
    root = Path(__file__).parents[2]
    python = subprocess.run([sys.executable, "-c", loaded], cwd=root, capture_output=True, text=True, check=True)
    assert python.stdout.split() == ["0", "1"]
