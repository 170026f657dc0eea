"""The command line: what it prints where, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis
from typer.testing import CliRunner

from gateway import inventory
from gateway.check import Summary
from gateway.cli import app, sim
from gateway.config import load
from gateway.embedded import free_port
from gateway.follow import follow
from gateway.model import Event, EventStatus, Job, decode_job, encode_event
from smpp.constants import CommandStatus
from smpp.simulator import Behaviour
from tests.support.gateway_process import GatewayProcess

WHATSAPP = Path(__file__).parents[2] / "deploy" / "whatsapp.toml"
AT = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
CONFIG = """
[kafka]
bootstrap = "{bootstrap}"
prefix = "{prefix}"
group = "{prefix}"
idempotence = {idempotence}
fetch_wait_ms = 10
session_timeout_s = 2
jobs_partitions = 1
events_partitions = 2
inbound_partitions = 1
delay_partitions = 1
[store]
url = "{store}"
[delay]
rungs_s = [5]
[lanes.claro]
host = "127.0.0.1"
port = {port}
system_id = "recado"
password_file = "password"
rate = 100
binds = 2
classes = ["bulk"]
[[routes]]
lane = "claro"
"""
PEOPLE = """to,nombre
+573001234567,Ana
3001234567,Luz
+573001234568,Begoña
"""


def recado(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    command = [sys.executable, "-m", "gateway.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def write(
    folder: Path,
    bootstrap: str = "127.0.0.1:1",
    prefix: str = "recado",
    idempotence: bool = True,
    store: str = "redis://s",
) -> Path:
    """Write a configuration with a lane to nowhere, and the password that it names."""
    (folder / "password").write_text("secret")
    file = folder / "recado.toml"
    values = {"bootstrap": bootstrap, "prefix": prefix, "store": store, "port": free_port()}
    file.write_text(CONFIG.format(**values, idempotence=str(idempotence).lower()))
    return file


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose Kafka is not there."""
    return write(tmp_path)


@pytest.fixture
def site(tmp_path: Path, broker: str, namespace: str, idempotence: bool, store_url: str) -> Path:
    """A configuration of a broker and a store that are there, without topics."""
    return write(tmp_path, broker, namespace, idempotence, store_url)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Three rows, the second of them bad."""
    file = tmp_path / "people.csv"
    file.write_text(PEOPLE, encoding="utf-8")
    return file


# Help and version.


def test_help_shows_every_command_with_examples() -> None:
    """It is what a person reads first."""
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"})
    assert done.exit_code == 0
    for command in ("run", "check", "topics", "send", "events", "sim", "demo"):
        assert re.search(rf"│ {command} ", done.output)
        assert f"recado {command}" in done.output


def test_the_version_is_printed() -> None:
    """One line, for scripts."""
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, re.fullmatch(r"recado \d+\.\d+\.\d+\S*\n", done.output) is not None) == (0, True)


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    """The clients of Kafka, Redis and SMPP are imported by the commands that use them."""
    code = (
        "import sys, gateway.cli; print({'aiokafka', 'redis', 'uvloop', 'aiohttp', 'phonenumbers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["run"], ["check"], ["send", "x.csv"], ["events", "--status", "x"]]
)
def test_a_mistake_in_the_arguments_is_2(arguments: list[str]) -> None:
    """As shells and scripts expect."""
    assert CliRunner().invoke(app, arguments).exit_code == 2


# check


def test_check_says_what_a_configuration_means(config: Path) -> None:
    """Lanes with their rates, routes, classes, topics, warnings; without colours where there is no terminal."""
    done = CliRunner().invoke(app, ["check", str(config)])
    assert done.exit_code == 0
    for expected in ("claro", "360,000", "sms, anything → claro", "not sent again", "recado.lane.claro.bulk"):
        assert expected in done.output
    assert "warning: kafka.replication" in done.output
    assert "\x1b" not in done.output


def test_check_shows_the_caps_of_each_lane(config: Path) -> None:
    """Of senders, tenants and campaigns; nothing is said where there are none."""
    assert "beside the rate" not in CliRunner().invoke(app, ["check", str(config)]).output
    caps = 'rate = 100\ncaps = { sender = 50, tenant = { banco = 20, "*" = 5 }, campaign = 10 }'
    config.write_text(config.read_text().replace("rate = 100", caps))
    done = CliRunner().invoke(app, ["check", str(config)])
    assert re.search(
        r"beside the rate *\nclaro +each sender 50/s *\n +tenant banco 20/s *\n +each tenant 5/s *\n +each campaign 10/s",
        done.output,
    )


def test_check_for_programs_is_the_summary(config: Path) -> None:
    """All of it, as JSON."""
    done = CliRunner().invoke(app, ["check", "--json", str(config)])
    summary = msgspec.json.decode(done.stdout, type=Summary)
    assert (done.exit_code, summary.topics["recado.lane.claro.bulk"]) == (0, 2)


@pytest.mark.parametrize("command", ["check", "run", "topics", "send", "events"])
def test_every_problem_of_a_configuration_is_told(config: Path, people: Path, command: str) -> None:
    """With its path, on stderr, by whatever reads the file."""
    config.write_text(config.read_text().replace("rate = 100", 'rate = "fast"\nwindw = 3'))
    arguments = {"check": [config], "send": [people, "-c", config]}.get(command, ["-c", config])
    done = CliRunner().invoke(app, [command, *map(str, arguments)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "lanes.claro.rate: " in done.stderr
    assert "lanes.claro.windw: is not known (did you mean window?)" in done.stderr


def test_problems_for_programs_are_a_list(config: Path) -> None:
    """And the exit code is the same."""
    config.write_text(config.read_text().replace("rate = 100", "rate = -1"))
    done = CliRunner().invoke(app, ["check", "--json", str(config)])
    assert done.exit_code == 2
    assert [problem["path"] for problem in json.loads(done.stdout)["problems"]] == ["lanes.claro.rate"]


# run


@pytest.mark.parametrize("command", [["run"], ["topics"], ["topics", "--create"], ["events"]])
def test_a_broker_that_is_not_there_is_told_in_one_line(config: Path, command: list[str]) -> None:
    """And the exit code is 1: a supervisor starts it again."""
    done = (
        recado(*command, "--config", config, "--log-level=ERROR")
        if command == ["run"]
        else recado(*command, "-c", config)
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"recado: cannot reach Kafka at 127\.0\.0\.1:1: .*\n", done.stderr)


@pytest.mark.e2e
async def test_run_goes_on_until_sigterm_and_ends_clean(site: Path, tmp_path: Path) -> None:
    """Also while an operator cannot be reached: that is no reason to end, and none to hang."""
    assert (await asyncio.to_thread(recado, "topics", "--create", "-c", site)).returncode == 0
    async with GatewayProcess(site, tmp_path / "log") as process:
        for _ in range(600):
            if "running" in process.log_text():
                break
            await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 0
        process.assert_clean_log()


def test_run_refuses_topics_that_do_not_fit(site: Path) -> None:
    """A bind without its partition would starve unseen."""
    assert recado("topics", "--create", "-c", site).returncode == 0
    site.write_text(site.read_text().replace("binds = 2", "binds = 3"))
    done = recado("run", "-c", site)
    assert done.returncode == 1
    assert "has 2 partitions, the lane has 3 binds" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["run", "events"])
def test_topics_that_are_missing_are_named_and_not_made(site: Path, namespace: str, command: str) -> None:
    """A broker that makes what it is asked for would make them with its own partitions, and keep messages as it likes."""
    done = recado(command, "-c", site)
    assert (done.returncode, done.stdout) == (1, "")
    told = done.stderr.splitlines()[-1]
    assert told.startswith("recado: there is no topic ")
    assert f"{namespace}.events" in told
    assert told.endswith(": recado topics --create --config FILE")
    assert recado("topics", "-c", site).stdout.count("missing") == 6


# topics


def test_topics_are_listed_and_created(site: Path, namespace: str) -> None:
    """Looking creates nothing, creating twice harms nothing."""
    for _ in range(2):
        before = recado("topics", "-c", site)
        assert (before.returncode, before.stdout.count("missing")) == (1, 6)
    created = recado("topics", "--create", "-c", site)
    assert (created.returncode, created.stdout.count("created")) == (0, 6)
    assert re.search(rf"{namespace}\.lane\.claro\.bulk +2 +2", created.stdout)
    again = recado("topics", "--create", "-c", site)
    assert (again.returncode, again.stdout.count("created")) == (0, 0)
    assert recado("topics", "-c", site).returncode == 0


async def test_what_the_ledger_knows_of_an_older_topic_is_forgotten(site: Path, namespace: str, store_url: str) -> None:
    """Its outcomes would be told of other messages; where the topic is, its ledger is left alone."""
    kept, gone = [f"{namespace}:q:{namespace}.lane.claro.bulk:{n}" for n in range(2)]
    async with Redis.from_url(store_url) as redis:
        for name in (kept, gone):
            await redis.hset(name, mapping={"epoch": 1, "intent": 1})
            await redis.hset(f"{name.replace(':q:', ':o:')}:0", "0", "[]")
        await asyncio.to_thread(recado, "topics", "--create", "-c", site)
        assert not await redis.exists(kept, gone)
        await redis.hset(kept, mapping={"epoch": 1, "intent": 1})
        await asyncio.to_thread(recado, "topics", "--create", "-c", site)
        assert await redis.exists(kept)
        await redis.delete(kept)


def renamed(site: Path) -> Path:
    """The configuration with another lane instead of its own."""
    other = site.with_name("other.toml")
    other.write_text(site.read_text().replace("claro", "old").replace("rungs_s = [5]", "rungs_s = [77]"))
    return other


@pytest.mark.parametrize("kind", ["lane", "delay"])
async def test_what_nobody_reads_any_more_is_said(
    site: Path, broker: str, namespace: str, idempotence: bool, kind: str
) -> None:
    """Of a lane or a rung that was removed, or of more fair queues than there are now; and not of what was read."""
    old = f"{namespace}.{kind}.{'old.bulk' if kind == 'lane' else 77}"
    await asyncio.to_thread(recado, "topics", "--create", "-c", site)
    other = renamed(site)
    await asyncio.to_thread(recado, "topics", "--create", "-c", other)
    assert (await asyncio.to_thread(recado, "topics", "-c", site)).stderr == ""
    async with AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=idempotence) as producer:
        for _ in range(3):
            await producer.send_and_wait(old, b"[]", partition=0)
    told = await asyncio.to_thread(recado, "topics", "-c", site)
    assert (told.returncode, told.stderr.split().count(old + ",")) == (0, 1)
    assert "warning: 3 messages wait" in told.stderr


def test_topics_are_made_without_the_store_too(tmp_path: Path, broker: str, namespace: str, idempotence: bool) -> None:
    """It is said that nobody looked."""
    created = recado("topics", "--create", "-c", write(tmp_path, broker, namespace, idempotence, "redis://127.0.0.1:1"))
    assert (created.returncode, created.stdout.count("created")) == (0, 6)
    assert "warning: the store is not asked" in created.stderr


def faults(config: Path, partitions: int) -> dict[str, str]:
    """Return what is wrong with topics that all have so many partitions."""
    loaded = load(config)
    found = dict.fromkeys(loaded.topics(), partitions)
    return {topic.name: topic.fault for topic in inventory.compare(loaded, found) if topic.fault}


def test_only_topics_of_lanes_need_their_exact_number_of_partitions(config: Path) -> None:
    """Slot i of a lane is partition i; the others may be grown as anybody likes."""
    found = faults(config, 7)
    assert found.keys() == {"recado.lane.claro.bulk"}
    assert "binds = 7" in found["recado.lane.claro.bulk"]
    assert "anew" in found["recado.lane.claro.bulk"]


def test_a_lane_over_http_has_slots_where_another_has_binds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows the advice must not be told that there is no such key."""
    for name in re.findall(r'_env = "(\w+)"', WHATSAPP.read_text()):
        monkeypatch.setenv(name, "secret")
    found = faults(WHATSAPP, 64)
    assert all("set slots = 64" in fault for name, fault in found.items() if ".lane." in name)
    assert any(".lane." in name for name in found)


def test_topics_that_are_too_small_are_told_with_how_they_grow(config: Path) -> None:
    """What no worker would start on is no good inventory."""
    config.write_text(config.read_text().replace("delay_partitions = 1", "delay_partitions = 4"))
    found = faults(config, 1)
    assert found.keys() == {"recado.lane.claro.bulk", "recado.delay.5"}
    assert "kafka.delay_partitions says 4" in found["recado.delay.5"]
    for name, partitions in (("recado.delay.5", 4), ("recado.lane.claro.bulk", 2)):
        assert f"kafka-topics --alter --topic {name} --partitions {partitions}" in found[name]


def test_run_refuses_what_the_inventory_faults(site: Path) -> None:
    """Whoever looked at it before is not surprised."""
    assert recado("topics", "--create", "-c", site).returncode == 0
    site.write_text(site.read_text().replace("delay_partitions = 1", "delay_partitions = 4"))
    for command in ("topics", "run"):
        done = recado(command, "-c", site)
        assert (done.returncode, "kafka.delay_partitions" in done.stdout + done.stderr) == (1, True)


# send


async def jobs_in(config: Path, count: int) -> list[Job]:
    """Read the first jobs of a topic."""
    loaded = load(config)
    jobs: list[Job] = []
    async with (
        asyncio.timeout(20),
        aclosing(follow(loaded.kafka, [loaded.kafka.jobs_topic], "beginning")) as batches,
    ):
        async for batch in batches:
            jobs += [decode_job(record.value) for record in batch]
            if len(jobs) >= count:
                break
    return jobs


async def test_send_publishes_what_is_good_and_lists_what_is_bad(site: Path, people: Path) -> None:
    """By line, and without the number; the same file in smaller jobs has the same ids."""
    assert recado("topics", "--create", "-c", site).returncode == 0
    options = ["-c", site, "--job-id", "nov", "--text", "Hola {nombre}", "--campaign", "x", "--class", "otp"]
    done = recado("send", people, *options, "--tenant", "banco", "--expires-at", "2026-11-21T23:00:00-05:00")
    assert (done.returncode, done.stderr) == (0, "line 3: not E.164: a plus sign and 8 to 15 digits\n")
    assert re.fullmatch(r"published 2 messages to \S+, 1 bad rows left out\n", done.stdout)
    assert recado("send", people, *options, "--per-job", "1").returncode == 0
    first, *others = await jobs_in(site, 3)
    assert (first.job_id, first.text, first.campaign, first.tenant) == ("nov-0001", "Hola {nombre}", "x", "banco")
    assert (first.class_, first.expires_at.isoformat()) == ("otp", "2026-11-21T23:00:00-05:00")
    assert [(r.to, r.message_id, r.params) for r in first.recipients] == [
        ("+573001234567", "nov:2", {"nombre": "Ana"}),
        ("+573001234568", "nov:4", {"nombre": "Begoña"}),
    ]
    assert [job.job_id for job in others] == ["nov-0001", "nov-0002"]
    assert [r for job in others for r in job.recipients] == first.recipients


async def test_send_publishes_whole_jobs_as_they_are(site: Path, tmp_path: Path) -> None:
    """Nothing but a file and a configuration is needed for them."""
    assert recado("topics", "--create", "-c", site).returncode == 0
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"job_id": "j", "text": "x", "recipients": [{"to": "+1"}, {"to": "+2"}]}\n')
    done = recado("send", file, "-c", site)
    assert (done.returncode, done.stdout.startswith("published 2 messages")) == (0, True)
    (job,) = await jobs_in(site, 1)
    assert (job.job_id, [recipient.to for recipient in job.recipients]) == ("j", ["+1", "+2"])


def test_strict_publishes_nothing_if_a_row_is_bad(config: Path, people: Path) -> None:
    """Kafka is not even asked."""
    done = recado("send", people, "-c", config, "--job-id", "j", "--text", "Hola {nombre}", "--strict")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "recado: 1 bad rows: nothing was published"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "recipients need --job-id and --text"),
        (["--job-id", "j"], "go together"),
        (["--job-id", "j", "--text", "Hola {"], "brace"),
        (["--job-id", "j", "--text", "x", "--tenant", "a b"], "tenant"),
        (["--job-id", "j", "--text", "x", "--expires-at", "tomorrow"], "expires_at"),
        (["--job-id", "j" * 119, "--text", "x"], "--job-id has 119 characters, at most 118 fit"),
    ],
)
def test_a_mistake_in_a_campaign_is_2_before_kafka_is_asked(
    config: Path, people: Path, options: list[str], complaint: str
) -> None:
    """Whoever mistyped an option has published nothing."""
    done = CliRunner().invoke(app, ["send", str(people), "-c", str(config), *options])
    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in done.stderr


@pytest.mark.parametrize("content", [None, b"", b"nombre\nAna\n", b"to,nombre\n+573001234567,Bego\xf1a\n"])
def test_a_file_that_cannot_be_read_is_2(config: Path, tmp_path: Path, content: bytes | None) -> None:
    """Not there, empty, without the column `to`, or not UTF-8."""
    file = tmp_path / "people.csv"
    if content is not None:
        file.write_bytes(content)
    done = CliRunner().invoke(app, ["send", str(file), "-c", str(config), "--job-id", "j", "--text", "x"])
    assert done.exit_code == 2
    assert str(file) in done.stderr


def test_send_wants_its_topic(site: Path, people: Path) -> None:
    """A broker that makes topics by itself would make it with other partitions."""
    done = recado("send", people, "-c", site, "--job-id", "j", "--text", "x")
    assert done.returncode == 1
    assert "recado topics --create" in done.stderr


# events


async def publish_events(config: Path, *events: bytes) -> None:
    loaded = load(config)
    async with AIOKafkaProducer(bootstrap_servers=loaded.kafka.bootstrap) as producer:
        for event in events:
            await producer.send_and_wait(loaded.kafka.events_topic, event)


def an_event(status: EventStatus, message_id: str) -> bytes:
    return encode_event(Event(f"/{message_id}/{status}/1", status, AT, message_id, "nov-0001", lane="claro"))


@pytest.mark.parametrize(("options", "expected"), [([], 2), (["--status", "failed"], 1), (["--job", "otro"], 0)])
async def test_events_are_followed_and_filtered_until_interrupted(
    site: Path, options: list[str], expected: int
) -> None:
    """From the beginning, one line each; Ctrl-C is how it is meant to end."""
    assert recado("topics", "--create", "-c", site).returncode == 0
    events = [an_event(EventStatus.FAILED, "m-1"), an_event(EventStatus.DELIVERED, "m-2")]
    await publish_events(site, b"no event", *events)
    lines, code, errors = await followed(site, expected, *options, "--from", "beginning")
    assert (len(lines), code) == (expected, 0)
    assert all("job nov-0001  lane claro" in line and "\x1b" not in line for line in lines)
    assert re.search(r"no event at partition \d offset \d", errors)


async def test_events_for_programs_are_as_they_were_published(site: Path) -> None:
    """Octet by octet, one a line."""
    assert recado("topics", "--create", "-c", site).returncode == 0
    event = an_event(EventStatus.DELIVERED, "m-1")
    await publish_events(site, event)
    lines, code, _ = await followed(site, 1, "--from", "beginning", "--json")
    assert (lines, code) == ([event.decode()], 0)


async def followed(config: Path, count: int, *options: str) -> tuple[list[str], int | None, str]:
    """Follow events until there are `count` of them and the broker has been read; then interrupt."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "gateway.cli", "events", "-c", str(config), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(30):
        errors = b"" if "--json" in options else await process.stderr.readline()
        lines = [(await process.stdout.readline()).decode().rstrip("\n") for _ in range(count)]
        process.send_signal(signal.SIGINT)
        rest, more = await process.communicate()
    return lines + rest.decode().splitlines(), process.returncode, (errors + more).decode()


# sim smsc


def test_knobs_go_before_the_behaviour_that_they_refine(tmp_path: Path) -> None:
    """Which is JSON, in a file or as it is."""
    file = tmp_path / "slow.json"
    file.write_text('{"latency_s": 1, "receipt_ratio": 0.5}')
    assert sim.behaviour(None) == Behaviour()
    assert sim.behaviour(str(file), latency_s=2.0, resp_id=None) == Behaviour(latency_s=2.0, receipt_ratio=0.5)
    assert sim.behaviour('{"errors": {"8": 0.5}}') == Behaviour(errors={8: 0.5})


def test_statuses_have_names_or_numbers() -> None:
    """Vendors have codes without names."""
    assert sim.statuses(["ESME_RSYSERR=0.25", "0x400=0.1"]) == {int(CommandStatus.ESME_RSYSERR): 0.25, 0x400: 0.1}


def test_states_leave_the_rest_delivered() -> None:
    """Nothing said is everything delivered."""
    assert sim.states([]) == {}
    assert sim.states(["UNDELIVERABLE=0.25", "EXPIRED=0.25"]) == {
        "DELIVERED": 0.5,
        "UNDELIVERABLE": 0.25,
        "EXPIRED": 0.25,
    }


def test_every_account_has_its_password() -> None:
    """Without any there is one to try with."""
    login = [(account.system_id, account.password) for account in sim.accounts(["a", "b"], ["x", "y"], Behaviour())]
    assert login == [("a", "x"), ("b", "y")]
    (default,) = sim.accounts([], [], Behaviour())
    assert (default.system_id, default.password) == ("recado", "recado")


@pytest.mark.parametrize(
    "options",
    [
        ["--system-id", "a"],
        ["--behaviour", '{"latency": 1}'],
        ["--behaviour", "/no/such/file"],
        ["--error", "ESME_RSYSERR"],
        ["--error", "ESME_RNOTHING=1"],
        ["--error", "ESME_RSYSERR=2"],
        ["--state", "LOST=1"],
        ["--receipts", "2"],
        ["--resp-id", "z"],
    ],
)
def test_a_simulator_that_means_nothing_is_2(options: list[str]) -> None:
    """Said in a line, before anything listens."""
    done = CliRunner().invoke(app, ["sim", "smsc", "--port", "0", *options])
    assert done.exit_code == 2
    assert done.stderr.startswith("recado: ")


def test_a_port_that_is_taken_is_told() -> None:
    """It is the usual mistake."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = recado("sim", "smsc", "--port", taken.getsockname()[1])
    assert done.returncode == 1
    assert re.fullmatch(r"recado: cannot listen on .*\n", done.stderr)


def test_the_simulator_serves_until_interrupted() -> None:
    """It says where, and ends clean."""
    command = [sys.executable, "-m", "gateway.cli", "sim", "smsc", "--port", "0", "--control-port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        where = re.fullmatch(r"SMSC on 127\.0\.0\.1:(\d+), accounts: recado\n", process.stderr.readline())
        assert where
        commands = re.fullmatch(r"commands on 127\.0\.0\.1:(\d+).*\n", process.stderr.readline())
        assert commands
        with socket.create_connection(("127.0.0.1", int(commands[1]))) as control:
            control.sendall(b'{"do": "stats"}\n')
            assert json.loads(control.makefile().readline())["result"]["recado"]["binds"] == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
