"""The campaign of the demo: Spanish and Portuguese, long and short, with the mistakes that publishers make. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from msgspec import Struct

from gateway.model import Job, Recipient, encode_job

ANDINA = "andina"
"""The lane of +57 and +52."""
ATLANTICA = "atlantica"
"""The lane of +55."""

_PER_JOB = 500
_TENANT = "banco"
_CAMPAIGN = "vencimientos-nov"

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


class Expected(Struct, frozen=True, gc=False):
    """A message of the campaign and what has to become of it."""

    to: str
    text: str
    """As it has to arrive."""
    lane: str
    """Whose it is; empty for one that has to be rejected."""
    rejected: str = ""
    """Error code of its rejection."""
    refused: bool = False
    """Whether the operator does not take its number."""


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

    @property
    def refused(self) -> list[str]:
        """The numbers that an operator is to refuse, as it sees them."""
        return [message.to.removeprefix("+") for message in self.messages.values() if message.refused]


def write(messages: int, seed: int = 1) -> Script:
    """Write a campaign of `messages` messages, at least 100, the same for the same seed.

    Every number is there once, so that what an operator received can be told apart by number alone.
    """
    random = Random(seed)
    expected: dict[str, Expected] = {}
    jobs = list(_faulty(expected))
    share = messages - len(expected)
    brazil = share * 2 // 5
    long = max(1, share * 3 // 100)
    kinds = (
        ("co", "+57300{:07d}", ANDINA, _SPANISH, _SPANISH_NAMES, _MONTHS, share - brazil - long - share // 7),
        ("mx", "+52551{:07d}", ANDINA, _SPANISH, _SPANISH_NAMES, _MONTHS, share // 7),
        ("br", "+551198{:07d}", ATLANTICA, _PORTUGUESE, _PORTUGUESE_NAMES, _MESES, brazil),
        ("largo", "+57310{:07d}", ANDINA, (_LONG,), _SPANISH_NAMES, _MONTHS, long),
    )
    ordinary: list[list[Job]] = []
    for name, number, lane, texts, names, months, count in kinds:
        ordinary.append([])
        for start in range(0, count, _PER_JOB):
            text = texts[start // _PER_JOB % len(texts)]
            job = _job(f"{name}-{start // _PER_JOB + 1:04d}", text)
            for index in range(start, min(start + _PER_JOB, count)):
                params: dict[str, str | int | float] = {
                    "nombre": random.choice(names),
                    "mes": random.choice(months),
                    "valor": f"{random.randrange(10, 999)}.{random.randrange(1000):03d}",
                    "ref": f"{random.randrange(36**5):x}",
                }
                message_id = f"{name}-{index:06d}"
                job.recipients.append(Recipient(number.format(index), message_id, params))
                refused = name == "co" and index < _REFUSED
                expected[message_id] = Expected(number.format(index), text.format(**params), lane, refused=refused)
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


def _job(job_id: str, text: str) -> Job:
    return Job(job_id=job_id, text=text, recipients=[], campaign=_CAMPAIGN, tenant=_TENANT, sender="89000")


def _in_turns(lists: list[list[Job]]) -> Iterator[Job]:
    """One of each, again and again, so that every operator has something to do from the beginning."""
    for position in range(max(map(len, lists))):
        for jobs in lists:
            if position < len(jobs):
                yield jobs[position]
