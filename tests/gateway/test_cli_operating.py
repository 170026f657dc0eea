"""The commands for what runs: what they show of gateways that answer, what they ask of them, and dead letters."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from gateway import dead
from gateway.cli import app, operating, workers
from gateway.cli import dead as letters
from gateway.cli.lanes import duration, rows, table
from gateway.cli.terminal import console
from gateway.cli.top import Found, sent
from gateway.config import load
from gateway.embedded import free_port
from gateway.follow import follow
from gateway.model import Dead, encode_dead
from gateway.status import LaneStatus, QueueStatus, SlotStatus, WorkerStatus
from tests.gateway.test_cli import write
from tests.support.admin import TOKEN, Site, served
from tests.support.dispatching import record, slot_of

AT = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


async def recado(*arguments: object, token: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own, while what it asks lives in this one."""
    command = [sys.executable, "-m", "gateway.cli", *map(str, arguments)]
    environment = {**os.environ, workers.TOKEN: token}
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def a_lane(**changes: Any) -> LaneStatus:
    plain: dict[str, Any] = {
        "lane": "claro",
        "provider": "smpp",
        "channel": "sms",
        "account": "claro",
        "contract_rate": 100.0,
        "share_rate": 50.0,
        "effective_rate": 50.0,
        "level": 1.0,
        "tokens": 5,
        "limit_rate": None,
        "stopped": "",
        "down": False,
        "written": 1000,
        "outcomes": {},
        "refused": {"ESME_RTHROTTLED": 2},
        "slots": (SlotStatus(slot=0, up=True, reason="", window=10, in_flight=4),),
        "queues": (
            QueueStatus(slot=0, class_="bulk", backlog=70, oldest_s=30.0, buffered=5, unsettled=4, fenced=False),
        ),
    }
    return LaneStatus(**{**plain, **changes})


def a_worker(*lanes: LaneStatus) -> WorkerStatus:
    return WorkerStatus(version="1", deployment="recado/recado", problems=(), jobs_backlog=3, held=(), lanes=lanes)


# Lanes.


def test_the_shares_of_workers_are_one_lane() -> None:
    """Rates, windows and what waits are sums, the oldest is the oldest, the contract is one."""
    (row,) = rows([a_worker(a_lane()), a_worker(a_lane(queues=(), quality="GREEN"))])
    assert (row.effective_rate, row.contract_rate, row.in_flight, row.window) == (100, 100, 8, 20)
    assert (row.up, row.slots, row.backlog, row.oldest_s, row.written, row.refused) == (2, 2, 70, 30, 2000, 4)
    assert (row.state, row.healthy, row.quality) == ("ok", True, "GREEN")


DOWN = SlotStatus(slot=1, up=False, reason="connect: refused", window=10, in_flight=0)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"limit_rate": 0.0}, "paused"),
        ({"limit_rate": 20.0}, "limited to 20/s"),
        ({"level": 0.0, "effective_rate": 0.0}, "gives way, at 0 %"),
        ({"level": 0.5, "limit_rate": 20.0}, "limited to 20/s, gives way, at 50 %"),
        ({"stopped": "ESME_RINVPASWD", "down": True}, "stopped by ESME_RINVPASWD, down"),
        ({"slots": (*a_lane().slots, DOWN)}, "1 of 2 binds down (connect: refused)"),
        ({"slots": ()}, "nobody has its slots"),
    ],
)
def test_a_lane_says_what_is_the_matter_with_it(changes: Mapping[str, Any], state: str) -> None:
    """The gravest first."""
    (row,) = rows([a_worker(a_lane(**changes))])
    assert (row.state, row.healthy) == (state, False)


def test_rates_are_what_was_written_between_two_looks() -> None:
    """A worker that began anew counts from nothing, one that was not there before only from the next look on."""
    before: Found = {
        "a": a_worker(a_lane(written=1000)),
        "b": a_worker(a_lane(written=900)),
        "d": workers.Unreachable("x"),
    }
    after: Found = {
        "a": a_worker(a_lane(written=1100)),
        "b": a_worker(a_lane(written=40)),
        "c": a_worker(a_lane(written=7000)),
        "d": workers.Unreachable("x"),
    }
    assert sent(before, after, 2.0) == {"claro": 70.0}


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, ""), (4, "4 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_times_are_as_people_read_them(seconds: float, shown: str) -> None:
    """In the largest unit of which there are two."""
    assert duration(seconds) == shown


def test_a_table_is_plain_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line a lane."""
    monkeypatch.setenv("COLUMNS", "200")
    console().print(table(rows([a_worker(a_lane())]), {"claro": 1234.0}))
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("Lane", "State", "Sent/s", "May/s", "Contract/s", "Binds", "In", "flight", "Waiting", "Oldest", "Quality")
    ]
    assert line.split() == ["claro", "ok", "1,234", "50", "100", "1/1", "4/10", "70", "30", "s"]


async def test_lanes_of_several_workers_are_shown_together() -> None:
    """Who does not answer is told, and is no failure while somebody does."""
    async with served() as one, served() as two:
        for site in (one, two):
            slot = slot_of(site.worker.lanes["andina"], 0, site.worker.inbox)
            site.worker.dispatcher.slots["andina", 0] = slot
        done = await recado("lanes", "--url", one.base, "--url", two.base, "--url", "http://127.0.0.1:1")
        assert re.search(r"andina +ok +0 +50 +2/2 +0/20", done.stdout)
        assert (done.returncode, done.stderr) == (0, "recado: no gateway answers at http://127.0.0.1:1\n")
        as_json = await recado("lanes", "--url", one.base, "--json")
        (said,) = json.loads(as_json.stdout).values()
        assert [lane["lane"] for lane in said["lanes"]] == ["andina", "brava"]


async def test_workers_of_a_configuration_are_found_from_its_port_on(tmp_path: Path) -> None:
    """Each has the next port."""
    async with served() as site:
        done = await recado("lanes", "-c", with_admin_port(tmp_path, site, 0))
        assert (done.returncode, "andina" in done.stdout) == (0, True)


def with_admin_port(folder: Path, site: Site, before: int) -> Path:
    """The configuration of a worker that runs, but that the first of them is so many ports before it."""
    kafka = site.worker.config.kafka
    config = write(folder, prefix=kafka.prefix)
    config.write_text(config.read_text().replace(f'group = "{kafka.prefix}"', f'group = "{kafka.group}"'))
    port = int(site.base.rpartition(":")[2]) - before
    config.write_text(f'{config.read_text()}\n[admin]\nport = {port}\ntoken_file = "token"\n')
    (folder / "token").write_text(TOKEN)
    return config


async def test_a_worker_that_was_drained_hides_no_other(tmp_path: Path, store_url: str, namespace: str) -> None:
    """Its port is silent, which is told, and whoever answers next is asked."""
    async with served(store_url, namespace) as site:
        config = with_admin_port(tmp_path, site, 1)
        done = await recado("lanes", "-c", config)
        assert (done.returncode, "andina" in done.stdout) == (0, True)
        assert re.fullmatch(r"recado: no gateway answers at http://127\.0\.0\.1:\d+\n", done.stderr)
        done = await recado("pause", "andina", "-c", config)
        assert (done.returncode, done.stderr) == (0, "recado: lane andina is paused\n")


async def test_a_worker_of_another_configuration_is_not_taken_for_one_of_ours(tmp_path: Path) -> None:
    """Its port may lie behind ours; that it is there is said, and nothing is asked of it."""
    async with served() as site:
        config = with_admin_port(tmp_path, site, 0)
        config.write_text(config.read_text().replace('prefix = "x"', 'prefix = "y"'))
        done = await recado("lanes", "-c", config)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"recado: a gateway of x/recado answers at {site.base}, not of y/recado\n"
        done = await recado("pause", "andina", "-c", config)
        assert (done.returncode, site.worker.controls.asked) == (1, {})


async def test_where_no_worker_of_a_configuration_answers_its_port_is_named(tmp_path: Path) -> None:
    """And no more of those where none was to be expected."""
    config = write(tmp_path)
    port = free_port()
    config.write_text(f"{config.read_text()}\n[admin]\nport = {port}\n")
    for command in (["lanes"], ["pause", "claro"]):
        done = await recado(*command, "-c", config)
        assert (done.returncode, done.stderr) == (1, f"recado: no gateway answers at http://127.0.0.1:{port}\n")


async def test_a_slash_behind_a_url_is_none_of_the_path(store_url: str, namespace: str) -> None:
    """Browsers and shells write it."""
    async with served(store_url, namespace) as site:
        done = await recado("lanes", "--url", f"{site.base}/")
        assert (done.returncode, "andina" in done.stdout) == (0, True)
        done = await recado("pause", "andina", "--url", f"{site.base}/", token=TOKEN)
        assert (done.returncode, done.stderr) == (0, "recado: lane andina is paused\n")


async def test_top_looks_again_and_again() -> None:
    """Below each other where there is no terminal."""
    async with served() as site:
        done = await recado("top", "--url", site.base, "--every", "0.2", "--looks", "2")
        assert (done.returncode, done.stdout.count("workers 1   sent 0 parts/s")) == (0, 2)


@pytest.mark.parametrize("command", ["lanes", "top"])
async def test_nobody_who_answers_is_a_failure(command: str) -> None:
    """With where it was looked."""
    done = await recado(command, "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (1, "recado: no gateway answers at http://127.0.0.1:1\n")


@pytest.mark.parametrize("command", [["lanes"], ["top"], ["pause", "claro"]])
def test_where_to_look_has_to_be_said(tmp_path: Path, command: list[str]) -> None:
    """Neither guessed nor, where the configuration has no admin port, tried in vain."""
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, "--url" in done.stderr) == (2, True)
    done = CliRunner().invoke(app, [*command, "-c", str(write(tmp_path))])
    assert (done.exit_code, "admin.port" in done.stderr) == (2, True)


# Pauses.


async def test_what_is_paused_is_resumed(store_url: str, namespace: str) -> None:
    """With the token of the environment."""
    async with served(store_url, namespace) as site:
        subject = ["--campaign", "black/friday", "--tenant", "banco", "--url", site.base]
        done = await recado("pause", *subject, token=TOKEN)
        assert (done.returncode, done.stdout, done.stderr) == (
            0,
            "",
            "recado: campaign black/friday of tenant banco is paused\n",
        )
        assert set(site.worker.controls.asked) == {("campaign", "banco", "black/friday")}
        done = await recado("resume", *subject, token=TOKEN)
        assert (done.returncode, site.worker.controls.asked) == (0, {})
        done = await recado("resume", *subject, token=TOKEN)
        assert (done.returncode, done.stderr) == (
            1,
            "recado: campaign black/friday of tenant banco is not resumed: nobody has paused it; paused: nothing\n",
        )


async def test_of_several_urls_the_first_that_answers_is_asked(store_url: str, namespace: str) -> None:
    """One gateway has all of its deployment pause; that another was drained is no reason not to."""
    async with served(store_url, namespace) as site:
        gone = f"http://127.0.0.1:{free_port()}"
        done = await recado("pause", "andina", "--url", gone, "--url", site.base, token=TOKEN)
        assert (done.returncode, done.stderr) == (0, "recado: lane andina is paused\n")
    done = await recado("pause", "andina", "--url", gone, "--url", site.base, token=TOKEN)
    told = f"recado: no gateway answers at {gone}; no gateway answers at {site.base}\n"
    assert (done.returncode, done.stderr) == (1, told)


async def test_a_campaign_without_its_tenant_is_that_of_nobody(store_url: str, namespace: str) -> None:
    """Which is said: else somebody believes that a tenant's campaign stands still."""
    async with served(store_url, namespace) as site:
        done = await recado("pause", "--campaign", "nov", "--url", site.base, token=TOKEN)
        assert (done.returncode, done.stderr) == (0, "recado: campaign nov of no tenant is paused\n")


@pytest.mark.parametrize(
    ("subject", "path"),
    [
        (("andina", None, "", None), "/lanes/andina"),
        ((None, "black friday", "", None), "/campaigns//black%20friday"),
        ((None, "a/b", "banco", None), "/campaigns/banco/a%2Fb"),
        (("andina", None, "", "otp/es_CO"), "/templates/andina/otp/es_CO"),
    ],
)
def test_names_are_quoted_in_paths(subject: tuple[Any, ...], path: str) -> None:
    """As the admin port reads them."""
    assert operating._subject(*subject)[0] == path


async def test_what_is_refused_is_told() -> None:
    """In the gateway's words."""
    async with served() as site:
        done = await recado("pause", "andina", "--url", site.base, token="wrong")
        assert done.returncode == 1
        assert done.stderr == "recado: lane andina is not paused: the token is missing or wrong\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["claro", "--campaign", "x"],
        ["--template", "a/b"],
        ["claro", "--template", "a"],
        ["--campaign", "x", "--template", "a/b"],
        ["claro", "--tenant", "banco"],
        ["claro", "--template", "a/b", "--tenant", "banco"],
    ],
)
def test_what_is_to_be_paused_has_to_be_one_thing(arguments: list[str]) -> None:
    """Else somebody pauses more, or less, than he thinks."""
    done = CliRunner().invoke(app, ["pause", *arguments, "--url", "http://127.0.0.1:1"])
    assert (done.exit_code, "name a LANE" in done.stderr) == (2, True)


# Dead letters.


def a_letter(offset: int = 7, **changes: Any) -> letters.Letter:
    plain: dict[str, Any] = {
        "topic": "recado.jobs",
        "partition": 1,
        "offset": 42,
        "reason": "Object missing required field `job_id`",
        "time": AT,
        "key": b"k",
        "value": b"{}",
    }
    return letters.Letter(offset, Dead(**{**plain, **changes}))


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (letters.Wanted(), True),
        (letters.Wanted(offsets=frozenset((7, 9))), True),
        (letters.Wanted(offsets=frozenset((8,))), False),
        (letters.Wanted(topic="recado.jobs"), True),
        (letters.Wanted(topic="recado.job"), False),
        (letters.Wanted(reason="missing.*job_id"), True),
        (letters.Wanted(reason="^missing"), False),
        (letters.Wanted(since=AT), True),
        (letters.Wanted(since=AT + timedelta(seconds=1)), False),
    ],
)
def test_letters_are_wanted_by_all_that_is_said(wanted: letters.Wanted, fits: bool) -> None:
    """What is not said wants all."""
    assert wanted.wants(a_letter()) is fits


def test_letters_go_back_where_they_were_or_to_the_jobs() -> None:
    """A lane's partition is a slot's, and stays; a job goes where its key says."""
    there = [a_letter(0), a_letter(1, partition=2)]
    assert letters.batches(there, None) == {("recado.jobs", 1): [(b"k", b"{}")], ("recado.jobs", 2): [(b"k", b"{}")]}
    assert letters.batches(there, ("jobs", 1)) == {("jobs", 0): [(b"k", b"{}"), (b"k", b"{}")]}


def test_a_letter_that_was_cut_cannot_be_sent_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor one without a value; which ones, is told."""
    value = b"x" * 700_000
    key, cut = dead.letter(record("recado.jobs", 3, value), "no JSON", AT)
    assert key is None
    long = letters.Letter(1, letters._decode(cut))
    assert letters.whole([a_letter(0), long, a_letter(2, value=None)]) == [a_letter(0)]
    assert [line[0] for line in capsys.readouterr().err.splitlines()] == ["1", "2"]


@pytest.fixture
def site(tmp_path: Path, broker: str, namespace: str, idempotence: bool, store_url: str) -> Path:
    """A configuration of a broker with its topics."""
    config = write(tmp_path, broker, namespace, idempotence, store_url)
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "topics", "--create", "-c", str(config)], check=False, capture_output=True
    )
    assert done.returncode == 0
    return config


async def bury(config: Path, *values: bytes) -> None:
    """Write dead letters of records of the jobs topic."""
    kafka = load(config).kafka
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        for offset, value in enumerate(values):
            key, letter = dead.letter(record(kafka.jobs_topic, offset, value), f"reason {offset}", AT)
            await producer.send_and_wait(kafka.dead_topic, letter, key=key)


async def test_dead_letters_are_listed_without_what_is_in_them(site: Path) -> None:
    """Unless somebody asks for it."""
    await bury(site, b'{"to": "+573001234567"}', b"no JSON")
    jobs = load(site).kafka.jobs_topic
    plain = await recado("dead", "list", "-c", site)
    assert plain.stdout.splitlines() == [
        f"       0  2026-11-21T14:00:00Z  {jobs}:0:0  reason 0",
        f"       1  2026-11-21T14:00:00Z  {jobs}:0:1  reason 1",
    ]
    shown = await recado("dead", "list", "-c", site, "--show", "--reason", "0$")
    assert shown.stdout.splitlines()[1].strip() == '{"to": "+573001234567"}'
    as_json = await recado("dead", "list", "1", "-c", site, "--json")
    (found,) = map(json.loads, as_json.stdout.splitlines())
    assert (found["number"], found["reason"], "value" in found) == (1, "reason 1", False)


async def test_dead_letters_are_sent_again_when_somebody_says_so(site: Path) -> None:
    """As they were; nothing without a yes."""
    await bury(site, b"first", b"second")
    asked = await recado("dead", "replay", "-c", site)
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    done = await recado("dead", "replay", "1", "-c", site, "--yes")
    assert (done.returncode, done.stderr) == (0, "recado: 1 sent again\n")
    kafka = load(site).kafka
    async with asyncio.timeout(20), aclosing(follow(kafka, [kafka.jobs_topic], "beginning")) as found:
        async for batch in found:
            if batch:
                assert [each.value for each in batch] == [b"second"]
                break


async def test_nothing_to_send_again_is_a_failure(site: Path) -> None:
    """A filter that fits nothing was a mistake."""
    done = await recado("dead", "replay", "-c", site, "--reason", "nothing", "--yes")
    assert (done.returncode, done.stderr) == (1, "recado: there is nothing to send again\n")


@pytest.mark.parametrize(("topic", "partition"), [("{prefix}.lane.gone.bulk", 0), ("{prefix}.jobs", 9)])
async def test_letters_whose_place_is_gone_are_not_sent_again(
    site: Path, namespace: str, topic: str, partition: int
) -> None:
    """They are named, and the others wait with them; as jobs they have a place."""
    await bury(site, b"first")
    kafka, topic = load(site).kafka, topic.format(prefix=namespace)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        lost = encode_dead(a_letter(topic=topic, partition=partition).dead)
        await producer.send_and_wait(kafka.dead_topic, lost)
    done = await recado("dead", "replay", "-c", site, "--yes")
    assert done.returncode == 1
    assert done.stderr.startswith(f"recado: there is no {topic}:{partition}: ")
    assert "--to-jobs" in done.stderr
    done = await recado("dead", "replay", "-c", site, "--yes", "--to-jobs")
    assert (done.returncode, done.stderr) == (0, "recado: 2 sent again\n")


@pytest.mark.parametrize("hours", ["1e9", "1e300", "inf", "nan"])
def test_a_time_before_all_times_is_2(tmp_path: Path, hours: str) -> None:
    """It is no date."""
    done = CliRunner().invoke(app, ["dead", "list", "-c", str(write(tmp_path)), "--since", hours])
    assert (done.exit_code, "--since" in done.stderr) == (2, True)


def test_a_reason_that_is_no_expression_is_2(tmp_path: Path) -> None:
    """Before Kafka is asked."""
    done = CliRunner().invoke(app, ["dead", "list", "-c", str(write(tmp_path)), "--reason", "("])
    assert (done.exit_code, "regular expression" in done.stderr) == (2, True)
