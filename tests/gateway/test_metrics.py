"""The metrics of a worker that carries nothing yet."""

from prometheus_client import CollectorRegistry, generate_latest

from gateway import config, metrics
from gateway.app import Worker
from tests.support.dispatching import lease


async def test_every_sample_has_its_row_in_the_table() -> None:
    """A scrape of a worker with counts and a slot names only metrics of the table, with all their labels."""
    worker = Worker(config.loads(CONFIG, {"PASSWORD": "secret"}))
    try:
        worker.intake.counts["messages"] = 3
        worker.publisher.counts["andina", "bulk", "submitted"] = 2
        worker.lanes["andina"].refusals["ESME_RTHROTTLED"] += 1
        lease(worker.lanes["andina"])
        registry = CollectorRegistry()
        registry.register(metrics.WorkerCollector(worker))
        text = generate_latest(registry).decode()
    finally:
        await worker.stop()
    assert 'recado_jobs_recipients_total{result="messages"} 3.0' in text
    assert 'recado_messages_settled_total{class="bulk",lane="andina",outcome="submitted"} 2.0' in text
    assert 'recado_parts_refused_total{code="ESME_RTHROTTLED",lane="andina"} 1.0' in text
    assert 'recado_lane_rate{lane="andina"} 50.0' in text


CONFIG = """
[kafka]
bootstrap = "localhost:9092"
[store]
url = "redis://localhost"
[lanes.andina]
host = "localhost"
port = 2775
system_id = "test"
password_env = "PASSWORD"
rate = 50
[[routes]]
lane = "andina"
"""
