"""What carries messages: one file per kind of provider, each with its error table on top."""
