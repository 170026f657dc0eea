"""smpplib as its README has it: one thread listens, another sends.

https://github.com/python-smpplib/python-smpplib, README, "You also may want to listen in a thread". It has no window, so a
semaphore is one.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path

import smpplib.client
import smpplib.consts
import smpplib.exceptions
import smpplib.gsm


def main(port: str, system_id: str, password: str, sender: str, window: str, file: str) -> None:
    messages = json.loads(Path(file).read_text())
    room = threading.Semaphore(int(window))
    seen = {"receipts": 0, "last_at": 0.0}

    def answered(pdu: smpplib.pdu.PDU) -> None:
        room.release()

    def received(pdu: smpplib.pdu.PDU) -> None:
        seen["receipts"] += 1
        seen["last_at"] = time.time()

    client = smpplib.client.Client("127.0.0.1", int(port), allow_unknown_opt_params=True)
    client.set_message_sent_handler(answered)
    client.set_message_received_handler(received)
    client.connect()
    # A thread waits for each answer of the other.
    client._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.bind_transceiver(system_id=system_id, password=password)
    print("ready", flush=True)
    until = time.monotonic() + float(sys.stdin.readline())

    listener = threading.Thread(target=_listen, args=(client,), daemon=True)
    listener.start()
    submitted = parts = 0
    for to, text in messages:
        if time.monotonic() > until:
            break
        pieces, encoding, esm_class = smpplib.gsm.make_parts(text)
        for piece in pieces:
            room.acquire()
            client.send_message(
                source_addr_ton=smpplib.consts.SMPP_TON_UNK,
                source_addr=sender,
                dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
                dest_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
                destination_addr=to,
                short_message=piece,
                data_coding=encoding,
                esm_class=esm_class,
                registered_delivery=True,
            )
            parts += 1
        submitted += 1
    patience = time.monotonic() + 10
    while seen["receipts"] < parts and time.monotonic() < patience:
        time.sleep(0.02)
    print(json.dumps({"submitted": submitted, **seen}), flush=True)
    sys.stdin.readline()


def _listen(client: smpplib.client.Client) -> None:
    try:
        client.listen()
    except (smpplib.exceptions.ConnectionError, OSError):
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
