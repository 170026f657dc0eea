"""The campaign of the demo: SMS and WhatsApp, Spanish and Portuguese, with the mistakes that publishers make. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from msgspec import Struct

from gateway.content import Content
from gateway.content.whatsapp import Body, BodyText
from gateway.model import Job, Recipient, encode_job

ANDINA = "andina"
"""The lane of SMS to +57 and +52."""
ATLANTICA = "atlantica"
"""The lane of SMS to +55."""
WHATSAPP = "whatsapp"
"""The lane of all that goes over WhatsApp."""

TEMPLATES: Mapping[tuple[str, str], str] = {
    ("factura_por_vencer", "es"): "Hola {nombre}, su factura de {mes} por $ {valor} vence mañana. 📄",
    ("fatura_a_vencer", "pt_BR"): "Olá {nombre}, sua fatura de {mes} no valor de R$ {valor} vence amanhã. 📄",
}
"""What Meta has approved, by name and language."""
PLACEHOLDERS = ("nombre", "mes", "valor")
"""Of every template."""

_PER_JOB = 500
_TENANT = "banco"
_CAMPAIGN = "vencimientos-nov"
_SENDER = "89000"

_SPANISH = (
    "Hola {nombre}, su factura de {mes} por $ {valor} vence mañana. Pague en https://x.co/{ref}",
    "¡{nombre}, pague hoy {valor} € y gane 5 % de descuento! Código {ref}. Responda BAJA para no recibir más avisos.",
    "{nombre}, ¡gracias por su pago! 🎉 Recibo {ref}",
    "{nombre}: su crédito está al día. Próximo pago {valor}, {mes}.",
)
_PORTUGUESE = (
    "Olá {nombre}, sua fatura de {mes} vence amanhã. Pague pelo código {ref} e evite juros.",
    "{nombre}, não perca: 10 % de desconto até sexta-feira. Valor: R$ {valor}. Protocolo {ref}.",
    "{nombre}, recebemos o seu pagamento 🎉 Obrigado! Recibo {ref}",
    "Atenção, {nombre}: a sua próxima parcela de {valor} será debitada em {mes}.",
)
# Three parts in the default alphabet.
_LONG = (
    "Aviso: su cuenta {ref} presenta un saldo vencido de {valor} pesos. Para evitar intereses de mora y el reporte a "
    "las centrales de riesgo lo invitamos a pagar antes de fin de {mes} en cualquiera de nuestras oficinas, en los "
    "corresponsales o por internet. Si usted ya hizo el pago, por favor omita este mensaje. Si desea un acuerdo de "
    "pago, llame sin costo de lunes a viernes, de 8 a 18 horas: mañana puede ser tarde."
)
_SPANISH_NAMES = ("Ana", "José", "Begoña", "Andrés", "María Núñez")
_PORTUGUESE_NAMES = ("Ana", "João", "Inês", "Conceição", "Luís")
_MONTHS = ("noviembre", "diciembre", "enero")
_MESES = ("novembro", "dezembro", "janeiro")

_BAD_NUMBERS = ("3001234567", "+5730012", "+57 300 1234567", "+999123456789", "", "+5502134")
_REFUSED = 8
_COPIES = 20
_ABSENT_EVERY = 50
"""One in so many people is not on WhatsApp."""
_MOST_OVER_WHATSAPP = 1000
"""People that a number in Meta's second tier, of 2,000 a day, may be left to reach."""


class Expected(Struct, frozen=True, gc=False):
    """A message of the campaign and what has to become of it."""

    to: str
    text: str
    """As it has to arrive."""
    lane: str
    """Where it ends; empty for one that has to be rejected."""
    rejected: str = ""
    """Error code of its rejection."""
    refused: str = ""
    """The lane that does not take its number: its own, or the one before it in the job's plan."""

    @property
    def fails(self) -> bool:
        """Whether nobody takes its number."""
        return self.refused != "" and self.refused == self.lane


class Script(Struct, frozen=True):
    """What is published, and what for."""

    records: tuple[tuple[bytes, int], ...]
    """In this order, each with its number of recipients; all are jobs but for the poison."""
    poison: bytes
    messages: dict[str, Expected]
    """By message id, each once."""
    jobs: int
    """Records that are jobs."""
    recipients: int
    """Of all jobs together: copies count again."""
    copies: int
    """Recipients of an id that another one has as well."""

    def refused(self, lane: str) -> list[str]:
        """The numbers that the operator of a lane is to refuse, as it sees them."""
        return [message.to.removeprefix("+") for message in self.messages.values() if message.refused == lane]


class _Kind(Struct, frozen=True):
    """Messages that are alike, as many as `count`; `texts` are said in turns, a job each."""

    name: str
    number: str
    lane: str
    texts: tuple[str, ...]
    names: Sequence[str]
    months: Sequence[str]
    count: int
    template: tuple[str, str] | None = None
    """What is said over WhatsApp; the texts are for those who cannot be reached there."""


def write(messages: int, seed: int = 1) -> Script:
    """Write a campaign of `messages` messages, at least 100, the same for the same seed.

    Every number is there once, so that what an operator received can be told apart by number alone.
    """
    random = Random(seed)
    expected: dict[str, Expected] = {}
    jobs = list(_faulty(expected))
    ordinary: list[list[Job]] = []
    for kind in _kinds(messages - len(expected)):
        ordinary.append([])
        for start in range(0, kind.count, _PER_JOB):
            text = kind.texts[start // _PER_JOB % len(kind.texts)]
            job = _job(f"{kind.name}-{start // _PER_JOB + 1:04d}", text, kind.template)
            for index in range(start, min(start + _PER_JOB, kind.count)):
                params: dict[str, str | int | float] = {
                    "nombre": random.choice(kind.names),
                    "mes": random.choice(kind.months),
                    "valor": f"{random.randrange(10, 999)}.{random.randrange(1000):03d}",
                    "ref": f"{random.randrange(36**5):x}",
                }
                message_id, to = f"{kind.name}-{index:06d}", kind.number.format(index)
                job.recipients.append(Recipient(to, message_id, params))
                expected[message_id] = _expected(kind, to, text, params, index)
            ordinary[-1].append(job)
    jobs += _in_turns(ordinary)
    again = _again(jobs)
    poison = b'{"job_id": "rota", "text": "sin destinatarios'
    records = [(encode_job(job), len(job.recipients)) for job in [*jobs, *again]]
    records.insert(len(records) // 2, (poison, 0))
    return Script(
        records=tuple(records),
        poison=poison,
        messages=expected,
        jobs=len(jobs) + len(again),
        recipients=sum(count for _, count in records),
        copies=sum(len(job.recipients) for job in again),
    )


def _kinds(share: int) -> tuple[_Kind, ...]:
    whatsapp = min(share // 10, _MOST_OVER_WHATSAPP)
    sms = share - whatsapp
    brazil, mexico, long = sms * 2 // 5, sms // 7, max(1, sms * 3 // 100)
    spanish, portuguese = (_SPANISH_NAMES, _MONTHS), (_PORTUGUESE_NAMES, _MESES)
    in_spanish, in_portuguese = TEMPLATES
    return (
        _Kind("co", "+57300{:07d}", ANDINA, _SPANISH, *spanish, sms - brazil - mexico - long),
        _Kind("mx", "+52551{:07d}", ANDINA, _SPANISH, *spanish, mexico),
        _Kind("br", "+551198{:07d}", ATLANTICA, _PORTUGUESE, *portuguese, brazil),
        _Kind("largo", "+57310{:07d}", ANDINA, (_LONG,), *spanish, long),
        _Kind("wa-co", "+57320{:07d}", ANDINA, _SPANISH, *spanish, whatsapp - whatsapp // 3, in_spanish),
        _Kind("wa-br", "+551196{:07d}", ATLANTICA, _PORTUGUESE, *portuguese, whatsapp // 3, in_portuguese),
    )


def _expected(kind: _Kind, to: str, text: str, params: Mapping[str, str | int | float], index: int) -> Expected:
    if kind.template is None:
        refused = kind.name == "co" and index < _REFUSED
        return Expected(to, text.format(**params), kind.lane, refused=kind.lane if refused else "")
    if index % _ABSENT_EVERY == 0:
        return Expected(to, text.format(**params), kind.lane, refused=WHATSAPP)
    return Expected(to, TEMPLATES[kind.template].format(**params), WHATSAPP)


def _faulty(expected: dict[str, Expected]) -> Iterator[Job]:
    """Recipients that have to be rejected, and a job whose message ids are derived."""
    wrong = _job("errores", "Hola {nombre}, su código es {codigo}.")
    whole: dict[str, str | int | float] = {"nombre": "Ana", "codigo": 4711}
    for number in _BAD_NUMBERS:
        wrong.recipients.append(Recipient(number, "", whole))
    wrong.recipients.append(Recipient("+12025550143", "", whole))
    wrong.recipients.append(Recipient("+573150000001", "", {"nombre": "Ana"}))
    wrong.recipients.append(Recipient("+573150000002", "", whole | {"nombre": "Ñandú " * 100}))
    codes = ["number"] * len(_BAD_NUMBERS) + ["route", "parameter", "parts"]
    for index, (recipient, code) in enumerate(zip(wrong.recipients, codes, strict=True)):
        expected[f"errores:{index}"] = Expected(recipient.to, "", "", rejected=code)
    yield wrong
    derived = _job("derivados", "Su código es {codigo}. Não compartilhe.")
    for index in range(_COPIES // 2):
        to = f"+551197{index:07d}"
        derived.recipients.append(Recipient(to, "", {"codigo": 1000 + index}))
        expected[f"derivados:{index}"] = Expected(to, f"Su código es {1000 + index}. Não compartilhe.", ATLANTICA)
    yield derived


def _again(jobs: list[Job]) -> list[Job]:
    """What is published twice: a whole job as it was, and some messages of another in a job of its own."""
    derived, ordinary = jobs[1], jobs[2]
    some = _job("repetidos", ordinary.text)
    some.recipients.extend(ordinary.recipients[-_COPIES // 2 :])
    return [derived, some]


def _job(job_id: str, text: str, template: tuple[str, str] | None = None) -> Job:
    """A job of SMS, or one of WhatsApp that ends as SMS for those who are not there."""
    if template is None:
        return Job(job_id=job_id, text=text, recipients=[], campaign=_CAMPAIGN, tenant=_TENANT, sender=_SENDER)
    return Job(
        job_id=job_id,
        channel="whatsapp",
        template=template[0],
        language=template[1],
        components=[Body([BodyText(f"{{{name}}}", parameter_name=name) for name in PLACEHOLDERS])],
        fallback=(Content(text=text, sender=_SENDER),),
        recipients=[],
        campaign=_CAMPAIGN,
        tenant=_TENANT,
    )


def _in_turns(lists: list[list[Job]]) -> Iterator[Job]:
    """One of each, again and again, so that every operator has something to do from the beginning."""
    for position in range(max(map(len, lists))):
        for jobs in lists:
            if position < len(jobs):
                yield jobs[position]
