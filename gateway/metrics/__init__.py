"""What an operations person can see of a worker: `table.py` says what there is, `collect.py` reads it when somebody asks.

Stages count for themselves, in plain attributes, once a batch; whatever takes longer than an addition is done at a scrape.
"""
