"""The gateway: bulk jobs from Kafka to the lanes of SMS operators, and what became of every message back to Kafka."""
