"""SMPP 3.4 for asyncio: a sans-IO codec and session, a link that keeps a bind up, a simulator of the other side.

Usable alone. Bytes become values in `pdu`, text becomes parts in `gsm7` and `segment`, receipts are read in `receipt`, what the
bytes mean over time is decided in `session`, and only `link` and `simulator` touch a socket.
"""
