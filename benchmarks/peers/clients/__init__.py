"""One program for each client library, run with its own interpreter: it imports nothing of ours but what is here.

Arguments: port, system_id, password, sender, window, and a JSON file of [to, text]. It binds, says `ready`, reads from stdin how
many seconds it has, submits in order with a receipt for each part, and says what came of it: {"submitted": messages,
"receipts": parts, "last_at": Unix seconds}. Then it waits to be ended, so that what it used can be read.
"""
