"""Bodies of submit_sm at the rate of a campaign: what is constant for an account is encoded once (SMPP 3.4, §4.4.1)."""

from __future__ import annotations

from smpp.pdu import c_octet

__all__ = ["SubmitEncoder"]

_SM_LENGTH = tuple(bytes((n,)) for n in range(255))  # at most 254 (§5.2.21): one more finds nothing here


class SubmitEncoder:
    """Makes bodies of submit_sm for one source address and one set of flags.

    `service_type`, source, destination TON/NPI and `registered_delivery` are constant for a lane, so they are encoded once.
    Raises ValueError at construction for a field that does not fit: nothing is ever cut.
    """

    __slots__ = ("_flags", "_prefix", "_registered")

    def __init__(
        self,
        *,
        source_addr: str,
        source_addr_ton: int,
        source_addr_npi: int,
        dest_addr_ton: int,
        dest_addr_npi: int,
        service_type: str = "",
        registered_delivery: int = 1,
    ) -> None:
        self._prefix = b"".join(
            (
                c_octet(service_type, 6, "service_type"),
                bytes((source_addr_ton, source_addr_npi)),
                c_octet(source_addr, 21, "source_addr"),
                bytes((dest_addr_ton, dest_addr_npi)),
            )
        )
        self._registered = bytes((0, registered_delivery, 0))
        self._flags: dict[tuple[int, int, int], tuple[bytes, bytes]] = {}

    def encode(
        self,
        destination_addr: str,
        short_message: bytes,
        esm_class: int = 0,
        data_coding: int = 0,
        priority_flag: int = 0,
        validity_period: bytes = b"",
        tlvs: bytes = b"",
    ) -> bytes:
        """A body. `destination_addr` is at most 20 digits without `+`, `validity_period` has no NUL, `tlvs` are encoded."""
        key = (esm_class, data_coding, priority_flag)
        flags = self._flags.get(key)
        if flags is None:
            flags = self._flags[key] = (
                bytes((0, esm_class, 0, priority_flag, 0)),
                self._registered + bytes((data_coding, 0)),
            )
        return b"".join(
            (
                self._prefix,
                destination_addr.encode("latin-1"),
                flags[0],
                validity_period,
                flags[1],
                _SM_LENGTH[len(short_message)],
                short_message,
                tlvs,
            )
        )
