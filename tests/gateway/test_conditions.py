"""Tests of what follows from what Meta says of numbers, accounts, portfolios and templates."""

from __future__ import annotations

from itertools import permutations

import pytest

from gateway.conditions import OK, Conditions, Fact, State, Whose
from gateway.errors import Disposition
from gateway.model import TrafficClass
from gateway.providers.contract import Change, Failure, Scope
from gateway.providers.whatsapp import failure_of
from gateway.whatsapp_lane_config import Quality

OTP, TRANSACTIONAL, BULK = TrafficClass
OURS = Whose("1065", "waba", "main")
NUMBER = "number:1065"
DIGITS = "number:+15550783881"
TEMPLATE = "template:payment_due/es_MX"
HOUR = 3600.0
NOW = 1_800_000_000.0
UTILITY = "RATE_LIMITED_UTILITY_TEMPLATE_MESSAGING"
CONTRACT = 100.0
POLICY = Quality().policy


def after(*changes: Change, at: float = NOW) -> Conditions:
    conditions = Conditions()
    conditions.changed(changes, OURS, at)
    return conditions


def refusal(code: int, *, after: float | None = None) -> Failure:
    failure = failure_of(code)
    assert failure is not None
    return Failure(failure.disposition, failure.code, "", failure.after if after is None else after, failure.scope)


def template(conditions: Conditions, now: float = NOW + 1, subject: str = TEMPLATE) -> State:
    return conditions.template_state("waba", subject, now)


@pytest.mark.parametrize(
    ("quality", "rates"),
    [
        ("GREEN", (100, 100, 100)),
        ("YELLOW", (50, 50, 50)),
        ("RED", (10, 10, 0)),
        ("UNKNOWN", (100, 100, 100)),
        ("NA", (100, 100, 100)),
    ],
)
def test_the_quality_of_a_number_leaves_each_class_a_share(quality: str, rates: tuple[float, ...]) -> None:
    """All, half, a tenth and no bulk; what is not known leaves all."""
    conditions = after(Change(NUMBER, "quality", quality))
    assert tuple(conditions.rate_of("1065", class_, CONTRACT, POLICY, NOW) for class_ in TrafficClass) == rates


def test_the_shares_are_the_operators_to_choose() -> None:
    """What they do not name has all of the rate."""
    conditions = after(Change(NUMBER, "quality", "RED"))
    policy = {"RED": {BULK: 0.25}}
    assert [conditions.rate_of("1065", class_, 80.0, policy, NOW) for class_ in TrafficClass] == [80.0, 80.0, 20.0]


@pytest.mark.parametrize(
    ("level", "contract", "rate"),
    [
        ("STANDARD", 1000.0, 80.0),
        ("STANDARD", 20.0, 20.0),
        ("HIGH", 80.0, 80.0),
        ("HIGH", 2000.0, 1000.0),
        ("20", 80.0, 20.0),
        ("NOT_APPLICABLE", 80.0, 80.0),
    ],
)
def test_the_level_of_a_number_lowers_its_rate_and_never_raises_it(level: str, contract: float, rate: float) -> None:
    """The contract is the most."""
    conditions = after(Change(NUMBER, "throughput", level))
    assert conditions.rate_of("1065", OTP, contract, POLICY, NOW) == rate


def test_level_and_quality_count_together() -> None:
    """A share of what the level leaves."""
    conditions = after(Change(NUMBER, "throughput", "STANDARD"), Change(NUMBER, "quality", "YELLOW"))
    assert conditions.rate_of("1065", BULK, 1000.0, POLICY, NOW) == 40.0


def test_a_number_of_which_nothing_was_said_has_its_contract() -> None:
    """And is in order."""
    conditions = Conditions()
    assert conditions.rate_of("1065", BULK, CONTRACT, POLICY, NOW) == CONTRACT
    assert conditions.quality("1065") == "UNKNOWN"
    assert conditions.number_state(OURS, NOW) == OK


@pytest.mark.parametrize("digits_first", [True, False])
def test_callbacks_know_a_number_by_its_digits(digits_first: bool) -> None:
    """Its health ties them to its id, before or after; the later of the two names' facts counts."""
    conditions = Conditions()
    says = [
        ([Change(DIGITS, "throughput", "HIGH")], NOW + 1),
        ([Change(NUMBER, "display_phone_number", "+15550783881"), Change(NUMBER, "throughput", "STANDARD")], NOW),
    ]
    for changes, at in says if digits_first else reversed(says):
        conditions.changed(changes, OURS, at)
    assert conditions.rate_of("1065", OTP, 1000.0, POLICY, NOW) == 1000.0
    conditions.changed([Change(NUMBER, "throughput", "STANDARD")], OURS, NOW + 1e6)
    assert conditions.rate_of("1065", OTP, 1000.0, POLICY, NOW) == 80.0


@pytest.mark.parametrize(
    ("value", "limit"),
    [("TIER_250", 250), ("TIER_2K", 2000), ("2000", 2000), ("TIER_1K", 1000), ("TIER_UNLIMITED", None), ("-1", None)],
)
def test_the_limit_of_a_portfolio(value: str, limit: int | None) -> None:
    """As a tier or a number, legacy values included."""
    assert after(Change("portfolio", "limit", value)).limit("main", 7) == limit


def test_a_limit_that_cannot_be_read_leaves_the_last_one() -> None:
    """And where none was ever read, the default."""
    conditions = after(Change("portfolio", "limit", "2000"))
    conditions.changed([Change("portfolio", "limit", "PLENTY")], OURS, NOW + 1)
    assert conditions.limit("main", 7) == 2000
    assert conditions.limit("other", 7) == 7


@pytest.mark.parametrize(
    ("event", "title", "held_s", "standing"),
    [
        ("APPROVED", "", 0, "ok"),
        ("APPROVED", "UNPAUSE", 0, "ok"),
        ("REINSTATED", "", 0, "ok"),
        ("UNARCHIVED", "", 0, "ok"),
        ("FLAGGED", "", 0, "ok"),
        ("LOCKED", "", 0, "ok"),
        ("LIMIT_EXCEEDED", "", 0, "ok"),
        ("SOMETHING_NEW", "", 0, "ok"),
        ("PAUSED", "FIRST_PAUSE", 3 * HOUR, "held"),
        ("PAUSED", "SECOND_PAUSE", 6 * HOUR, "held"),
        ("LOCKED", "FIRST_PAUSE", 3 * HOUR, "held"),
        ("PAUSED", "RATE_LIMITING_PAUSE", 24 * HOUR, "held"),
        ("PAUSED", "NONE", 3 * HOUR, "held"),
        ("PENDING", "", 24 * HOUR, "held"),
        ("IN_APPEAL", "", 24 * HOUR, "held"),
        ("ARCHIVED", "", 24 * HOUR, "held"),
        ("PAUSED", "DISABLED", 0, "gone"),
        ("DISABLED", "", 0, "gone"),
        ("REJECTED", "PROMOTIONAL", 0, "gone"),
        ("DELETED", "", 0, "gone"),
        ("PENDING_DELETION", "", 0, "gone"),
    ],
)
def test_what_the_status_of_a_template_means(event: str, title: str, held_s: float, standing: str) -> None:
    """Whether it can be sent, and if not, until when."""
    state = template(after(Change(TEMPLATE, "status", event, title)))
    assert state.standing == standing
    if standing == "held":
        assert state.until == NOW + held_s
        assert state.reason.startswith(event)


def test_a_hold_ends_by_itself() -> None:
    """The message that is tried then finds out."""
    conditions = after(Change(TEMPLATE, "status", "PAUSED", "FIRST_PAUSE"))
    assert template(conditions, NOW + 3 * HOUR - 1).standing == "held"
    assert template(conditions, NOW + 3 * HOUR) == OK


def test_only_the_one_template_in_the_one_language_is_held() -> None:
    """The same name in another account is another template."""
    conditions = after(Change(TEMPLATE, "status", "DISABLED"))
    assert template(conditions, subject="template:payment_due/es_CO") == OK
    assert conditions.template_state("another", TEMPLATE, NOW) == OK
    assert conditions.number_state(OURS, NOW) == OK


@pytest.mark.parametrize(
    ("code", "after_s", "until"),
    [
        (132015, None, NOW + 3 * HOUR),
        (132015, 60.0, NOW + 60),
        (132001, None, NOW + 600),
        (132069, None, NOW + HOUR),
        (132016, None, float("inf")),
    ],
)
def test_a_refusal_holds_its_template(code: int, after_s: float | None, until: float) -> None:
    """For as long as the failure says, or the code is known for."""
    conditions = Conditions()
    assert conditions.failed(refusal(code, after=after_s), OURS, TEMPLATE, NOW)
    state = template(conditions)
    assert (state.until, state.reason) == (until, str(code))
    assert conditions.number_state(OURS, NOW) == OK


def test_refusals_do_not_shorten_a_pause() -> None:
    """Meta's own word of six hours stands against our guess of three."""
    conditions = after(Change(TEMPLATE, "status", "PAUSED", "SECOND_PAUSE"))
    assert not conditions.failed(refusal(132015), OURS, TEMPLATE, NOW + 1)
    assert template(conditions).until == NOW + 6 * HOUR


def test_a_window_full_of_refusals_is_news_once() -> None:
    """Each of them says the same."""
    conditions = Conditions()
    assert [bool(conditions.failed(refusal(132015), OURS, TEMPLATE, NOW + n)) for n in range(5)] == [
        True,
        *[False] * 4,
    ]


def test_an_approval_ends_a_refusal_and_what_was_written_before_it_does_not_count() -> None:
    """Its answer may come after."""
    conditions = Conditions()
    conditions.failed(refusal(132016), OURS, TEMPLATE, NOW)
    conditions.changed([Change(TEMPLATE, "status", "APPROVED")], OURS, NOW + 10)
    assert template(conditions, NOW + 11) == OK
    assert not conditions.failed(refusal(132015), OURS, TEMPLATE, NOW + 9)
    assert template(conditions, NOW + 11) == OK
    conditions.failed(refusal(132015), OURS, TEMPLATE, NOW + 12)
    assert template(conditions, NOW + 13).standing == "held"


def test_the_spam_limit_holds_the_number_for_an_hour() -> None:
    """Its templates are in order."""
    conditions = Conditions()
    conditions.failed(refusal(131048), OURS, TEMPLATE, NOW)
    assert conditions.number_state(OURS, NOW) == State("held", NOW + HOUR, "131048")
    assert conditions.number_state(OURS, NOW, template=False).standing == "held"
    assert conditions.number_state(Whose("other", "waba", "main"), NOW) == OK
    assert template(conditions) == OK


def test_after_the_spam_limit_a_number_is_tried_slowly_for_as_long_again() -> None:
    """A tenth of its rate: nobody publishes when it is over, and at full rate it would be refused once more."""
    conditions = Conditions()
    conditions.failed(refusal(131048), OURS, TEMPLATE, NOW)
    rates = [conditions.rate_of("1065", OTP, CONTRACT, POLICY, NOW + at) for at in (HOUR, 2 * HOUR - 1, 2 * HOUR)]
    assert rates == [10.0, 10.0, 100.0]
    assert conditions.rate_of("other", OTP, CONTRACT, POLICY, NOW + HOUR) == 100.0


@pytest.mark.parametrize("code", ["http:401", "http:404", "url", "999999", "190", "33"])
def test_what_stops_a_number_for_good_are_metas_own_words(code: str) -> None:
    """The rest is about what this process was given: a restart, with other settings, is to begin anew."""
    conditions = Conditions()
    assert not conditions.failed(Failure(Disposition.STOP, code), OURS, "", NOW)
    assert conditions.stopped("1065") == ""
    assert conditions.failed(Failure(Disposition.STOP, "133010"), OURS, "", NOW)
    assert conditions.stopped("1065") == "133010"


def test_a_refusal_of_a_person_is_none_of_these() -> None:
    """131056 is about a pair."""
    conditions = Conditions()
    assert not conditions.failed(Failure(Disposition.HOLD, "131056", scope=Scope.RECIPIENT), OURS, TEMPLATE, NOW)


@pytest.mark.parametrize(
    ("restriction", "templates", "replies"),
    [
        ("RESTRICTED_BIZ_INITIATED_MESSAGING", "held", "ok"),
        ("RESTRICTED_CUSTOMER_INITIATED_MESSAGING", "ok", "held"),
        ("RESTRICTED_ADD_PHONE_NUMBER_ACTION", "ok", "ok"),
        ("RESTRICTED_UTILITY_TEMPLATES", "ok", "ok"),  # creating, not sending
    ],
)
def test_restrictions_of_an_account_hold_its_numbers(restriction: str, templates: str, replies: str) -> None:
    """Each what it is about, until it expires."""
    conditions = after(Change("account:102290129340398", "restriction", restriction, str(int(NOW + 100))))
    assert conditions.number_state(OURS, NOW + 99).standing == templates
    assert conditions.number_state(OURS, NOW + 99, template=False).standing == replies
    assert conditions.number_state(OURS, NOW + 100) == OK
    assert conditions.number_state(Whose("1065", "another", "main"), NOW) == OK


@pytest.mark.parametrize(
    ("expiration", "until"),
    [
        ("1800000100", NOW + 100),
        ("2027-01-15T08:01:40+0000", NOW + 100),
        ("2027-01-15T08:01:40", NOW + 100),
        ("", NOW + 24 * HOUR),
        ("soon", NOW + 24 * HOUR),
    ],
)
def test_when_a_restriction_ends(expiration: str, until: float) -> None:
    """In either way of writing it; after a day where nobody says."""
    change = Change("account:102290129340398", "restriction", "RESTRICTED_BIZ_INITIATED_MESSAGING", expiration)
    assert after(change).number_state(OURS, NOW).until == until


def test_the_cap_on_utility_holds_utility_templates_until_it_ends() -> None:
    """Where Meta has told the category; others as they meet it (131064)."""
    conditions = after(
        Change(
            "account:102290129340398", "restriction", "RATE_LIMITED_UTILITY_TEMPLATE_MESSAGING", str(int(NOW + 9000))
        ),
        Change(TEMPLATE, "category", "UTILITY", "MARKETING"),
        Change("template:promo/es_MX", "category", "MARKETING", ""),
    )
    assert template(conditions).until == NOW + 9000
    assert template(conditions, subject="template:promo/es_MX") == OK
    conditions.failed(refusal(131064), OURS, "template:other/es_MX", NOW)
    assert template(conditions, subject="template:other/es_MX").until == NOW + 9000


def test_a_banned_account_is_gone_until_it_is_reinstated() -> None:
    """That it will be banned is no reason to stop."""
    conditions = after(Change("account:102290129340398", "ban", "SCHEDULE_FOR_DISABLE"))
    assert conditions.number_state(OURS, NOW) == OK
    conditions.changed([Change("account:102290129340398", "ban", "DISABLE")], OURS, NOW + 1)
    assert conditions.number_state(OURS, NOW + 2).standing == "gone"
    conditions.changed([Change("account:102290129340398", "ban", "REINSTATE")], OURS, NOW + 3)
    assert conditions.number_state(OURS, NOW + 4) == OK


def test_the_later_fact_wins_in_any_order() -> None:
    """What comes late is not what is later."""
    says = [(NOW, "RED"), (NOW + 1, "YELLOW"), (NOW + 2, "GREEN")]
    for order in permutations(says):
        conditions = Conditions()
        for at, value in order:
            conditions.changed([Change(NUMBER, "quality", value)], OURS, at)
        assert conditions.quality("1065") == "GREEN"


@pytest.mark.parametrize(
    ("subject", "what", "older", "newer"),
    [
        (TEMPLATE, "status", ("PAUSED", "FIRST_PAUSE"), ("APPROVED", "UNPAUSE")),
        (TEMPLATE, "status", ("APPROVED", ""), ("DISABLED", "")),
        (TEMPLATE, "category", ("UTILITY", ""), ("MARKETING", "")),
        (DIGITS, "throughput", ("STANDARD", ""), ("HIGH", "")),
        ("portfolio", "limit", ("TIER_2K", ""), ("TIER_10K", "")),
        ("account:102290129340398", "ban", ("DISABLE", ""), ("REINSTATE", "")),
        ("account:102290129340398", "event", ("ACCOUNT_OFFBOARDED", ""), ("ACCOUNT_RECONNECTED", "")),
        ("account:102290129340398", "restriction", (UTILITY, str(NOW + 50_000)), (UTILITY, str(NOW + 20_000))),
    ],
)
def test_what_meta_says_again_does_not_undo_what_it_has_said_since(
    subject: str, what: str, older: tuple[str, str], newer: tuple[str, str]
) -> None:
    """A callback that was not answered comes again for days; it counts from when Meta says that it was, not from when it came."""
    conditions = Conditions()
    conditions.changed([Change(subject, what, *newer, at=NOW + 3 * HOUR)], OURS, NOW + 3 * HOUR + 60)
    known = dict(conditions.facts())
    assert known
    assert not conditions.changed([Change(subject, what, *older, at=NOW)], OURS, NOW + 4 * HOUR)
    assert dict(conditions.facts()) == known


def test_a_pause_lasts_from_when_meta_says_that_it_began() -> None:
    """However late it is told, and however often."""
    conditions = Conditions()
    paused = [Change(TEMPLATE, "status", "PAUSED", "FIRST_PAUSE", at=NOW)]
    assert conditions.changed(paused, OURS, NOW + HOUR)
    assert not conditions.changed(paused, OURS, NOW + 2 * HOUR)
    assert template(conditions, NOW + 2 * HOUR).until == NOW + 3 * HOUR


@pytest.mark.parametrize("at", [0.0, 1.0, NOW - 30 * 24 * HOUR, NOW + 1, NOW * 1000, 1e300])
def test_what_is_no_time_of_a_callback_is_taken_for_when_it_came(at: float) -> None:
    """Longer ago than Meta says anything again, or not yet come by our clock."""
    conditions = after(Change(TEMPLATE, "status", "PAUSED", "FIRST_PAUSE", at=at))
    assert template(conditions).until == NOW + 3 * HOUR


def test_what_is_said_again_is_no_news() -> None:
    """A poll says the same every minute; once a day is enough for others to know that it was said."""
    conditions = Conditions()
    green = [Change(NUMBER, "quality", "GREEN")]
    assert conditions.changed(green, OURS, NOW)
    assert not conditions.changed(green, OURS, NOW + 60)
    assert conditions.changed(green, OURS, NOW + 25 * HOUR)
    paused = [Change(TEMPLATE, "status", "PAUSED", "FIRST_PAUSE")]
    assert conditions.changed(paused, OURS, NOW)
    assert not conditions.changed(paused, OURS, NOW)


def test_what_is_for_others_is_not_kept() -> None:
    """Alerts, single errors, and what people want."""
    assert not Conditions().changed(
        [
            Change(NUMBER, "alert", "INCREASED_CAPABILITIES_ELIGIBILITY_FAILED"),
            Change(NUMBER, "error", "131052"),
            Change("recipient:+525512345678", "marketing_messages", "stop"),
            Change("account:102290129340398", "violation", "SCAM"),
            Change("account:102290129340398", "event", "PARTNER_ADDED"),
        ],
        OURS,
        NOW,
    )


def test_facts_say_what_is_known() -> None:
    """For metrics, and for a store that has forgotten."""
    assert dict(after(Change(NUMBER, "quality", "RED")).facts()) == {(NUMBER, "quality"): Fact(NOW, "RED")}
