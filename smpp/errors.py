"""Everything that `smpp` raises.

SMPPError
    CodecError
        MalformedPDU      the body does not follow the specification; the frame does: nack it, keep the bind
        FramingError      the byte stream cannot be cut into PDUs any more: close the link
    LocalProtocolError    we broke the protocol (a bug of ours), e.g. submitting beyond the window
"""

from __future__ import annotations

__all__ = ["CodecError", "FramingError", "LocalProtocolError", "MalformedPDU", "SMPPError"]


class SMPPError(Exception):
    """Base of every error of this package."""


class CodecError(SMPPError):
    """Bytes of the peer that are not SMPP."""


class MalformedPDU(CodecError):
    """The body of one PDU cannot be read; the PDUs before and after it can."""


class FramingError(CodecError):
    """A command_length that no PDU can have: where the next PDU starts is unknown."""


class LocalProtocolError(SMPPError):
    """The caller asked for something that the session's state or window does not allow."""
