"""What is known of numbers and portfolios of WhatsApp, as samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from gateway.conditions import Conditions
from gateway.number import Number

Sample = tuple[str, tuple[str, ...], float]
"""Name of the metric, values of its labels in the table's order, value."""


def samples(conditions: Conditions, numbers: Iterable[tuple[str, Number]], now: float) -> Iterator[Sample]:
    """Give all of section WhatsApp of the table, for lanes with their numbers; `now` is Unix time."""
    numbers = list(numbers)
    for lane, number in numbers:
        yield "recado_whatsapp_quality", (lane, number.quality), 1
        state = conditions.number_state(number.whose, now)
        if state.standing != "ok":
            yield "recado_whatsapp_number_held", (lane, state.reason), 1
    accounts = {number.whose.account for _, number in numbers}
    for (account, standing), count in _templates(conditions, accounts, now).items():
        yield "recado_whatsapp_templates", (account, standing), count
    for number in {number.portfolio.name: number for _, number in numbers}.values():
        portfolio = number.portfolio
        yield "recado_whatsapp_recipients_used", (portfolio.name,), portfolio.used
        yield "recado_whatsapp_recipients_denied", (portfolio.name,), portfolio.denied
        if number.recipients is not None:
            yield "recado_whatsapp_limit", (portfolio.name,), number.recipients
            yield "recado_whatsapp_recipients_left", (portfolio.name,), max(0, number.recipients - portfolio.used)
            for class_, count in portfolio.short.items():
                waiting = portfolio.waiting.get(class_, 0)
                yield "recado_whatsapp_recipients_waiting", (portfolio.name, class_.value), waiting
                yield "recado_whatsapp_recipients_short", (portfolio.name, class_.value), count


def _templates(conditions: Conditions, accounts: set[str], now: float) -> Counter[tuple[str, str]]:
    """Templates that cannot be sent, by account and standing; 0 for an account of ours that has none."""
    found = Counter({(account, standing): 0 for account in accounts for standing in ("held", "gone")})
    for subject in {subject for (subject, _), _ in conditions.facts()}:
        account, slash, template = subject.removeprefix("account:").partition("/")
        if slash and account in accounts:
            standing = conditions.template_state(account, template, now).standing
            if standing != "ok":
                found[account, standing] += 1
    return found
