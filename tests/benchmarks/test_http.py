"""The benchmark of a WhatsApp lane: the bare client posts what the gateway does, and a small run closes its account."""

import msgspec
import pytest

from benchmarks import bare, report, tables
from benchmarks.http import TemplateCampaign, run
from benchmarks.settings import EMBEDDED
from gateway import content
from gateway.model import decode_job


def test_the_bare_client_posts_the_octets_of_the_campaign() -> None:
    """The same people and ids, and the template filled in as intake does."""
    campaign = TemplateCampaign(first=0, messages=20, per_job=10, lanes=1, long=0.0)
    task = bare.Task("http://localhost:1", "100", "secret", campaign.job(0).decode(), 20, 1)
    calls = bare.calls(task)
    job = decode_job(campaign.job(1))
    assert len({call.body for call in calls}) == 20
    for call, recipient in zip(calls[10:], job.recipients, strict=True):
        said = msgspec.json.decode(call.body)
        assert said["to"] == recipient.to
        assert said["biz_opaque_callback_data"] == f"/{recipient.message_id}/1"
        rendered = msgspec.json.decode(content.compile(job).render(recipient.params).content)
        assert said["template"] == rendered["template"]
        assert [each["text"] for each in said["template"]["components"][0]["parameters"]] == [
            *("Ana", "25 nov", "https://x.co/a1b2c3d4"),
        ]


@pytest.mark.e2e
async def test_a_small_campaign_goes_over_the_lane_and_comes_back() -> None:
    """Without webhooks, then told of all of it in batches, then with webhooks."""
    found = await run(300, 16, EMBEDDED, None)
    assert found.keys() >= {"messages_per_s", "cpu_us_per_message", "bare_per_s", "ratio", "lost", "duplicates"}
    assert (found["lost"], found["duplicates"]) == (0, 0)
    assert found["events"] == {"accepted": 1, "submitted": 300}
    assert found["with_webhooks"]["events"] == {"accepted": 1, "submitted": 300, "delivered": 300}
    assert found["statuses"]["lost"] == 0
    assert tables.of("http", found)
    assert report.plots("http", found)
