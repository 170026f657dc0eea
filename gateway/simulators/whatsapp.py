"""A WhatsApp business portfolio as Meta runs it, without its socket: numbers, templates, limits, service windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import parse_qs

import msgspec

from gateway.simulators import notices
from gateway.simulators.behaviour import Behaviour, Fault
from gateway.simulators.end import NOBODY, Answer, End, Post, Request, Update
from gateway.simulators.graph import Message, Template, error_body, error_of
from gateway.simulators.limits import DistinctRecipients, Limits, PairRate, tier
from gateway.simulators.script import Refusal, Step
from smpp.simulator.agenda import SlidingWindow

__all__ = ["Quality", "TemplateState", "WhatsApp"]

Quality = Literal["GREEN", "YELLOW", "RED", "NA", "UNKNOWN"]

_message = msgspec.json.Decoder(Message).decode
_MAX_BATCH = 1000
_REFUSED_TEMPLATES = {"PAUSED": "132015", "DISABLED": "132016"}


class TemplateState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A template in one language: paused and disabled ones are refused with their own code, others but approved ones as
    not existing."""

    status: str = "APPROVED"
    parameters: int | None = None
    """Of its body; None takes any number."""
    held: float = 0.0
    """Share of its messages that are kept back for a quality assessment (pacing), for `held_s` seconds."""
    held_s: float = 5.0
    held_dropped: float = 0.0
    """Share of those that fail with 132015 in the end."""


class _Number:
    __slots__ = ("displayed", "mps", "quality_rating", "window")

    def __init__(self, displayed: str, mps: int | None) -> None:
        self.displayed = displayed
        self.quality_rating: Quality = "GREEN"
        self.set_throughput(mps)

    def set_throughput(self, mps: int | None) -> None:
        self.mps = mps
        self.window = None if mps is None else SlidingWindow(mps)


class WhatsApp(End):
    """One portfolio with one business account, its numbers by id. A number is displayed as its id's last ten digits.

    `templates` None takes any template; otherwise (name, language) are all there are. Raises LookupError from what changes a
    number that is not there.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        numbers: Sequence[str] = ("100000000000001",),
        token: str = NOBODY,
        app_secret: str = NOBODY,
        templates: Mapping[tuple[str, str], TemplateState] | None = None,
        limits: Limits | None = None,
        webhook_url: str = "",
        waba_id: str = "200000000000001",
        first_id: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__("whatsapp", behaviour, webhook_url, first_id, seed)
        self.limits = limits or Limits()
        self.numbers = {number: _Number(f"1{number[-10:]}", self.limits.throughput_mps) for number in numbers}
        self.templates = dict(templates or {})
        self._any_template = templates is None
        self._authorization = f"Bearer {token}"
        self._app_secret = app_secret
        self._waba_id = waba_id
        self._pairs = PairRate()
        self._reached = DistinctRecipients()
        self._windows: dict[str, float] = {}

    def reset(self) -> None:
        """Forget what arrived, who was reached and who wrote; numbers, templates and limits stay."""
        super().reset()
        self._pairs = PairRate()
        self._reached = DistinctRecipients()
        self._windows.clear()

    def reached(self, now: float) -> int:
        """Different people who count against the messaging limit now."""
        return self._reached.count(now, self.limits.day_s)

    @property
    def most_reached(self) -> int:
        """The most that ever counted at once."""
        return self._reached.most

    # Requests.

    def receive(self, request: Request, now: float) -> Answer:
        path, _, query = request.target.partition("?")
        steps = path.split("/")
        if request.headers.get("Authorization") != self._authorization:
            return self._error(Refusal("190", detail="Error validating access token"))
        if request.method == "POST" and steps[-1] == "messages" and len(steps) > 1:
            number = self.numbers.get(steps[-2])
            if number is not None:
                return self._submit(request.body, steps[-2], number, now)
        elif request.method == "GET" and steps[-1] in self.numbers:
            return self._describe(steps[-1], parse_qs(query))
        return self._nothing_there(request.method)

    def _submit(self, body: bytes, sender: str, number: _Number, now: float) -> Answer:
        self.record.counts.requests += 1
        try:
            message = _message(body)
        except msgspec.MsgspecError as error:
            self.record.counts.malformed += 1
            return self._error(Refusal("100", detail=str(error)))
        dialled, reference = message.to[1:], message.biz_opaque_callback_data
        fault = self.script.fault(dialled)
        if fault is not None:
            self.record.note_fault(fault)
            if not self.script.accepts_under(fault):
                self.record.add(now, sender, dialled, reference, fault)
                return Answer(200, fault=fault)
        recipient = notices.wa_id(dialled)
        refusal = self.script.refusal(dialled) or self._refusal(message, sender, number, recipient, now)
        over_limit = refusal is None and self._over_limit(recipient, now)
        if over_limit and self.limits.over_limit == "refuse":
            refusal = Refusal(self.limits.over_limit_code)
        self.record.add(now, sender, dialled, reference, refusal.code if refusal else "")
        if refusal is not None:
            return self._error(refusal, fault)
        held, plan = self._plan(message)
        if over_limit:
            plan = [Step(self.script.behaviour.sent_s, "failed", self.limits.over_limit_code)]
        if not self._window_open(recipient, now) and not (plan and plan[0].state == "failed"):
            self._reached.add(recipient, now, self.limits.day_s)
        return self._accept(message, sender, recipient, held, plan, fault)

    def _refusal(self, message: Message, sender: str, number: _Number, recipient: str, now: float) -> Refusal | None:
        wrong = message.fault()
        if wrong:
            return Refusal(wrong[0], detail=wrong[1])
        if message.type == "template":
            assert message.template is not None
            refusal = self._template_refusal(message.template)
            if refusal:
                return refusal
        elif self.limits.service_window and not self._window_open(recipient, now):
            return Refusal("131047", detail="More than 24 hours have passed since the recipient last replied.")
        if number.window is not None and not number.window.admit(now):
            return Refusal("130429", detail="Cloud API message throughput has been reached.")
        if self.limits.pair and not self._pairs.admit(sender, recipient, now):
            return Refusal("131056", detail="Too many messages sent from this number to the same recipient.")
        return None

    def _template_refusal(self, template: Template) -> Refusal | None:
        state = self.templates.get((template.name, template.language.code))
        if state is None:
            return None if self._any_template else Refusal("132001", detail="no such template in that language")
        if state.status != "APPROVED":
            return Refusal(_REFUSED_TEMPLATES.get(state.status, "132001"), detail=f"template is {state.status}")
        given = template.body_parameters()
        if state.parameters not in (None, given):
            detail = f"body: number of params ({given}) does not match the expected number ({state.parameters})"
            return Refusal("132000", detail=detail)
        return None

    def _window_open(self, recipient: str, now: float) -> bool:
        opened = self._windows.get(recipient)
        return opened is not None and now - opened < self.limits.day_s

    def _over_limit(self, recipient: str, now: float) -> bool:
        limits = self.limits
        if limits.messaging_limit is None or self._window_open(recipient, now):
            return False
        return not self._reached.admits(recipient, limits.messaging_limit, now, limits.day_s)

    def _plan(self, message: Message) -> tuple[bool, list[Step]]:
        """Whether the message is kept back for a while, and what will be reported of it."""
        plan = self.script.steps()
        if message.template is None:
            return False, plan
        state = self.templates.get((message.template.name, message.template.language.code))
        if state is None or not self.script.draw(state.held):
            return False, plan
        if self.script.draw(state.held_dropped):
            return True, [Step(state.held_s, "failed", "132015")]
        return True, [step._replace(after=step.after + state.held_s) for step in plan]

    def _accept(
        self, message: Message, sender: str, recipient: str, held: bool, plan: Sequence[Step], fault: Fault | None
    ) -> Answer:
        message_id = f"wamid.HBgNFQIAERgS{self._next_id():016X}AA=="
        status = ""
        if message.type == "template":
            status = ',"message_status":"held_for_quality_assessment"' if held else ',"message_status":"accepted"'
        # Digits, a plus and hexadecimals: nothing in it needs to be escaped.
        body = (
            f'{{"messaging_product":"whatsapp","contacts":[{{"input":"{message.to}","wa_id":"{recipient}"}}],'
            f'"messages":[{{"id":"{message_id}"{status}}}]}}'
        ).encode()
        updates: list[tuple[float, Update]] = []
        if self.webhook_url:
            reference = message.biz_opaque_callback_data
            updates = [
                (step.after, Update(message_id, step.state, sender, recipient, reference, step.code)) for step in plan
            ]
        return Answer(200, body, fault=fault, updates=updates)

    def _error(self, refusal: Refusal, fault: Fault | None = None) -> Answer:
        status = refusal.status or self.script.behaviour.error_status or error_of(refusal.code).status
        headers = {"Retry-After": refusal.retry_after} if refusal.retry_after else {}
        body = error_body(refusal.code, refusal.detail, f"A{self._next_id():015X}")
        return Answer(status, body, headers=headers, fault=fault)

    def _nothing_there(self, method: str) -> Answer:
        """Graph's own answer, which no table of WhatsApp has: a number that is gone shares its code with a wrong parameter."""
        error = {
            "message": f"Unsupported {method.lower()} request. Object does not exist, cannot be loaded due to missing "
            "permissions, or does not support this operation.",
            "type": "GraphMethodException",
            "code": 100,
            "error_subcode": 33,
            "fbtrace_id": f"A{self._next_id():015X}",
        }
        return Answer(400, msgspec.json.encode({"error": error}))

    def _describe(self, phone_number_id: str, query: Mapping[str, list[str]]) -> Answer:
        number = self.numbers[phone_number_id]
        level = "NOT_APPLICABLE" if number.mps is None else "HIGH" if number.mps >= 1000 else "STANDARD"
        known: dict[str, Any] = {
            "display_phone_number": number.displayed,
            "quality_rating": number.quality_rating,
            "throughput": {"level": level},
            "whatsapp_business_manager_messaging_limit": tier(self.limits.messaging_limit),
        }
        wanted = query.get("fields", ["display_phone_number,quality_rating"])[0].split(",")
        fields = {name: known[name] for name in wanted if name in known}
        return Answer(200, msgspec.json.encode({**fields, "id": phone_number_id}))

    # Webhooks.

    def reports(self, updates: Sequence[Update], at: float) -> list[Post]:
        batch = min(self.script.behaviour.callback_batch, _MAX_BATCH)
        displayed = {name: number.displayed for name, number in self.numbers.items()}
        chunks = [updates[start : start + batch] for start in range(0, len(updates), batch)]
        return [self._post(notices.statuses(displayed, chunk, at), len(chunk)) for chunk in chunks]

    def inbound(
        self, sender: str, recipient: str, text: str, message: Mapping[str, Any], now: float, at: float
    ) -> Post:
        """A message of `sender` to the number `recipient` (empty: the first one) opens a service window.

        LookupError for a number that is not there.
        """
        name = recipient or next(iter(self.numbers))
        number = self.numbers[name]
        if number.window is not None:
            number.window.admit(now)
        self._windows[notices.wa_id(sender)] = now
        message_id = f"wamid.HBgNFQIAEhgU{self._next_id():016X}AA=="
        value = notices.inbound_value(name, number.displayed, sender, text, message, message_id, at)
        return self._post([("messages", value)])

    def content(self, status: int) -> bool:
        return status == 200

    def notice(self, field: str, value: Mapping[str, Any]) -> Post:
        """The webhook of any field."""
        return self._post([(field, value)])

    def set_limits(self, limits: Limits) -> None:
        """Replace what is enforced, without a word to the webhook."""
        if limits.throughput_mps != self.limits.throughput_mps:
            for number in self.numbers.values():
                number.set_throughput(limits.throughput_mps)
        self.limits = limits

    def set_limit(self, people: int | None) -> list[Post]:
        """Change the portfolio's messaging limit, and say so as Meta does: of the business and of each number."""
        self.limits = msgspec.structs.replace(self.limits, messaging_limit=people)
        name = tier(people)
        posts = [self.notice("business_capability_update", {"max_daily_conversations_per_business": name})]
        return posts + [self._quality_update(number, "ONBOARDING") for number in self.numbers]

    def set_throughput(self, phone_number_id: str, mps: int | None) -> list[Post]:
        """Change what a number takes in a second; only the way up is told."""
        number = self.numbers[phone_number_id]
        upgraded = mps is None or (number.mps is not None and mps > number.mps)
        number.set_throughput(mps)
        return [self._quality_update(phone_number_id, "THROUGHPUT_UPGRADE")] if upgraded else []

    def set_quality(self, phone_number_id: str, rating: Quality) -> None:
        """Change a rating. No webhook carries it: it is polled."""
        self.numbers[phone_number_id].quality_rating = rating

    def set_template(self, name: str, language: str, changes: Mapping[str, Any], reason: str) -> list[Post]:
        """Change or add a template; a change of its status is told. Raises ValueError for a field that is none."""
        known = self.templates.get((name, language))
        state = msgspec.convert({**msgspec.to_builtins(known or TemplateState()), **changes}, TemplateState)
        self.templates[name, language] = state
        if known is not None and known.status == state.status:
            return []
        value = {
            "event": state.status,
            "message_template_id": 300000000000000 + len(self.templates),
            "message_template_name": name,
            "message_template_language": language,
            "reason": reason,
        }
        return [self.notice("message_template_status_update", value)]

    def _quality_update(self, phone_number_id: str, event: str) -> Post:
        name = tier(self.limits.messaging_limit)
        value = {
            "display_phone_number": self.numbers[phone_number_id].displayed,
            "event": event,
            "current_limit": name,
            "max_daily_conversations_per_business": name,
        }
        return self.notice("phone_number_quality_update", value)

    def _post(self, changes: Sequence[notices.Change], size: int = 1) -> Post:
        return notices.post(self.webhook_url, self._app_secret, self._waba_id, changes, size)
