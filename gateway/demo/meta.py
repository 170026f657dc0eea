"""Meta's end of the demo: a number of WhatsApp that keeps what people saw of its messages, and who has read them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from gateway.demo.account import Operator
from gateway.demo.script import PLACEHOLDERS, TEMPLATES
from gateway.simulators import Behaviour, Limits, TemplateState, WhatsApp
from gateway.simulators.end import Answer, Post, Request, Update

NUMBER = "100000000000001"
NOT_ON_WHATSAPP = "131026"

_LIMITS = Limits(throughput_mps=1000, messaging_limit=2000)
_BEHAVIOUR = Behaviour(
    latency_s=0.05,
    latency_jitter_s=0.05,
    sent_s=0.1,
    delivered_s=0.1,
    read_s=0.3,
    receipt_jitter_s=0.4,
    read_ratio=0.6,
    # What the gateway has to make sense of: read without delivered, all of it backwards, all of it twice.
    delivered_skipped=0.1,
    receipts_reordered=0.05,
    receipts_duplicated=0.02,
)


class _Parameter(Struct):
    parameter_name: str
    text: str


class _Component(Struct):
    parameters: list[_Parameter]


class _Language(Struct):
    code: str


class _Template(Struct):
    name: str
    language: _Language
    components: list[_Component]


class _Message(Struct):
    to: str
    template: _Template


_message = msgspec.json.Decoder(_Message).decode


class Meta(WhatsApp):
    """One number with the templates of the script, in the tier of 2,000 people a day."""

    def __init__(self, secret: str, webhook_url: str) -> None:
        templates = {key: TemplateState(parameters=len(PLACEHOLDERS)) for key in TEMPLATES}
        super().__init__(
            _BEHAVIOUR,
            numbers=[NUMBER],
            token=secret,
            app_secret=secret,
            templates=templates,
            limits=_LIMITS,
            webhook_url=webhook_url,
            seed=1,
        )
        self._texts: defaultdict[str, list[str]] = defaultdict(list)
        self._read: set[str] = set()

    def receive(self, request: Request, now: float) -> Answer:
        answer = super().receive(request, now)
        if request.method == "POST" and answer.status == 200:
            message = _message(request.body)
            self._texts[message.to.removeprefix("+")].append(_shown(message.template))
        return answer

    def reports(self, updates: Sequence[Update], at: float) -> list[Post]:
        self._read.update(update.recipient for update in updates if update.state == "read")
        return super().reports(updates, at)

    def refuse(self, numbers: Sequence[str]) -> None:
        """Have some people not use WhatsApp."""
        rejected = dict.fromkeys(numbers, NOT_ON_WHATSAPP)
        self.script.behaviour = msgspec.structs.replace(self.script.behaviour, rejected=rejected)

    def seen(self) -> Operator:
        """What came of the campaign so far."""
        counts, callbacks = self.record.counts, self.callbacks
        beyond = sum(count for code, count in counts.refused.items() if code != NOT_ON_WHATSAPP)
        return Operator(
            self._texts, counts.duplicates, 0, callbacks.pending + callbacks.lost, frozenset(self._read), beyond
        )


def _shown(template: _Template) -> str:
    (body,) = template.components
    text = TEMPLATES[template.name, template.language.code]
    return text.format(**{parameter.parameter_name: parameter.text for parameter in body.parameters})
