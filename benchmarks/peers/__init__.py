"""Recado beside other gateways and client libraries, on the same simulated SMSC with the same messages.

`peer` says what a peer is, `run` measures one, `smsc` and `verdict` are the truth of what arrived, `meter` is what it cost, `web`
the publisher's side of gateways with an HTTP interface. Each peer has a file, and its configuration beside it; `install` fetches
them.
"""
