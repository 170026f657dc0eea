"""What each provider is asked and answers, row by row: see `exchange.py`. A new provider adds a table of its case's name."""
