"""How much CPU the PDUs of the hot path cost, and how much smpplib takes for the same, in the same run.

`python -m benchmarks.codec [--json FILE]`: a table on stderr, JSON on stdout. A case is a batch of different PDUs, encoded or
decoded whole; ours and theirs take turns, so that a busy machine slows both, and the median of each counts. A case is timed
only after both have been seen to say the same. Ours goes through the session, as in the gateway: framing, window and sequence
numbers are in its figure and not in theirs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from smpplib import smpp as smpplib

from benchmarks.support import machine, versions
from smpp import receipt
from smpp.constants import CommandId, Tag
from smpp.encoder import SubmitEncoder
from smpp.pdu import BindTransceiver, DeliverSM, encode_response
from smpp.session import Role, Session

TARGET = 15
"""How many times as fast as smpplib the two PDUs of every message have to be."""

_BATCH = 100
_REPEATS = 50

_NUMBERS = [f"5730012{n:05d}" for n in range(_BATCH)]
_IDS = [f"{0x1A2B3C00 + n:08x}" for n in range(_BATCH)]
_TEXTS = [f"Hola Ana, su factura {n} vence el 25 nov. Pague en https://x.co/a1b2c3".encode() for n in range(_BATCH)]
_RECEIPT = "id:{} sub:001 dlvrd:001 submit date:2611220931 done date:2611220932 stat:DELIVRD err:000 text:Hola Ana, su"
_FIRST = 2  # the bind has taken sequence_number 1


class Case(msgspec.Struct, frozen=True):
    """A batch, done by us with what `prepare` gives (not timed), and by smpplib; both say what they made of it."""

    name: str
    prepare: Callable[[], Any]
    ours: Callable[[Any], Any]
    theirs: Callable[[], Any] | None
    seen: Callable[[Any], Any] = lambda made: made
    """What of it has to be the same."""


class _Peer:
    """The connection of which smpplib asks the next sequence_number."""

    def __init__(self) -> None:
        self.sequence = _FIRST - 1

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence


def _bound() -> Session:
    session = Session(Role.ESME, window=_BATCH)
    session.bind(BindTransceiver(), 0.0)
    session.receive(encode_response(CommandId.BIND_TRANSCEIVER_RESP, 0, 1, b"SMSC\0"), 0.0)
    session.data_to_send()
    return session


def _deliveries(*, parameters: bool) -> list[DeliverSM]:
    return [
        DeliverSM(
            sequence_number=n,
            source_addr_ton=1,
            source_addr_npi=1,
            source_addr=number,
            destination_addr="89000",
            esm_class=4,
            short_message=_RECEIPT.format(message_id).encode(),
            tlvs={Tag.RECEIPTED_MESSAGE_ID: message_id.encode() + b"\0", Tag.MESSAGE_STATE: b"\2"}
            if parameters
            else {},
        )
        for n, (number, message_id) in enumerate(zip(_NUMBERS, _IDS, strict=True), _FIRST)
    ]


def submit_sm() -> Case:
    encoder = SubmitEncoder(source_addr="89000", source_addr_ton=3, source_addr_npi=0, dest_addr_ton=1, dest_addr_npi=1)
    encode = encoder.encode

    def ours(session: Session) -> bytes:
        session.submit([(encode(number, text), number) for number, text in zip(_NUMBERS, _TEXTS, strict=True)], 0.0)
        return session.data_to_send()

    def theirs() -> bytes:
        peer = _Peer()
        return b"".join([_submitted(peer, number, text) for number, text in zip(_NUMBERS, _TEXTS, strict=True)])

    return Case("encode submit_sm", _bound, ours, theirs)


def _submitted(peer: _Peer, number: str, text: bytes) -> bytes:
    pdu = smpplib.make_pdu(
        "submit_sm",
        client=peer,
        source_addr="89000",
        source_addr_ton=3,
        source_addr_npi=0,
        dest_addr_ton=1,
        dest_addr_npi=1,
        destination_addr=number,
        registered_delivery=1,
        short_message=text,
    )
    encoded: bytes = pdu.generate()
    return encoded


def deliver_sm(*, parameters: bool) -> Case:
    pdus = [delivery.encode(delivery.sequence_number) for delivery in _deliveries(parameters=parameters)]
    stream = b"".join(pdus)
    peer = _Peer()

    def seen(made: list[Any]) -> list[tuple[str, bytes]]:
        addresses = [pdu.source_addr for pdu in made]
        texts = [pdu.short_message for pdu in made]
        return [(a if isinstance(a, str) else a.decode(), text) for a, text in zip(addresses, texts, strict=True)]

    return Case(
        "decode deliver_sm with parameters" if parameters else "decode deliver_sm",
        _bound,
        lambda session: session.receive(stream, 0.0),
        lambda: [smpplib.parse_pdu(pdu, client=peer, allow_unknown_opt_params=True) for pdu in pdus],
        seen,
    )


def submit_sm_resp() -> Case:
    pdus = [
        encode_response(CommandId.SUBMIT_SM_RESP, 0, n, message_id.encode() + b"\0")
        for n, message_id in enumerate(_IDS, _FIRST)
    ]
    stream = b"".join(pdus)
    peer = _Peer()

    def prepare() -> Session:
        session = _bound()
        session.submit([(b"", number) for number in _NUMBERS], 0.0)
        return session

    return Case(
        "decode submit_sm_resp",
        prepare,
        lambda session: session.receive(stream, 0.0),
        lambda: [smpplib.parse_pdu(pdu, client=peer) for pdu in pdus],
        lambda made: [pdu.message_id if isinstance(pdu.message_id, str) else pdu.message_id.decode() for pdu in made],
    )


def deliver_sm_resp() -> Case:
    deliveries = _deliveries(parameters=False)

    def ours(session: Session) -> bytes:
        session.answer_deliveries(deliveries)
        return session.data_to_send()

    def theirs() -> bytes:
        peer = _Peer()
        encoded = []
        for delivery in deliveries:
            pdu = smpplib.make_pdu("deliver_sm_resp", client=peer)
            pdu.sequence = delivery.sequence_number
            encoded.append(pdu.generate())
        return b"".join(encoded)

    return Case("encode deliver_sm_resp", _bound, ours, theirs)


def receipts() -> Case:
    deliveries = _deliveries(parameters=False)
    return Case(
        "parse a receipt",
        lambda: None,
        lambda _: [receipt.parse(pdu.esm_class, pdu.short_message, pdu.tlvs) for pdu in deliveries],
        None,
    )


def yardstick_us() -> float:
    """CPU µs that smpplib takes to encode one submit_sm and decode one deliver_sm: what other figures are divided by."""
    cases = (submit_sm(), deliver_sm(parameters=False))
    return sum(statistics.median(_cpu_us(case.theirs) for _ in range(10)) for case in cases if case.theirs is not None)


def _cpu_us(batch: Callable[[], Any]) -> float:
    """CPU µs for one PDU of a batch."""
    start = time.thread_time_ns()
    batch()
    return (time.thread_time_ns() - start) / 1000 / _BATCH


def measure(case: Case) -> dict[str, Any]:
    """The medians of both; `smpplib_us` and `ratio` are null where smpplib has nothing to compare."""
    theirs = case.theirs
    if theirs is not None and case.seen(case.ours(case.prepare())) != case.seen(theirs()):
        raise AssertionError(f"{case.name}: smpplib says something else")
    our_times, their_times = [], []
    for _ in range(_REPEATS):
        prepared = case.prepare()
        our_times.append(_cpu_us(lambda: case.ours(prepared)))  # noqa: B023 - called at once
        if theirs is not None:
            their_times.append(_cpu_us(theirs))
    ours_us = statistics.median(our_times)
    theirs_us = statistics.median(their_times) if their_times else None
    return {
        "case": case.name,
        "ours_us": round(ours_us, 3),
        "smpplib_us": None if theirs_us is None else round(theirs_us, 3),
        "ratio": None if theirs_us is None else round(theirs_us / ours_us, 1),
    }


def main() -> int:
    """Measure and print; the exit code is 1 when the two PDUs of every message miss the target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    file: Path | None = parser.parse_args().json
    targets = [measure(submit_sm()), measure(deliver_sm(parameters=False))]
    others = (deliver_sm(parameters=True), submit_sm_resp(), deliver_sm_resp(), receipts())
    cases = [*targets, *map(measure, others)]
    print(f"{'CPU µs for one PDU':<36}{'ours':>8}{'smpplib':>10}{'ratio':>8}", file=sys.stderr)
    for row in cases:
        ours, theirs, ratio = row["ours_us"], row["smpplib_us"] or "", row["ratio"] or ""
        print(f"{row['case']:<36}{ours:>8}{theirs:>10}{ratio:>8}", file=sys.stderr)
    result = {
        "cases": cases,
        "yardstick_us": round(sum(row["smpplib_us"] for row in targets), 2),
        "target": TARGET,
        "versions": versions(),
        "machine": machine(),
    }
    text = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    if file is not None:
        file.write_text(text + "\n")
    print(text)
    return 0 if min(row["ratio"] for row in targets) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
