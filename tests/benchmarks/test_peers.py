"""The comparison with others: what is counted is right, what is missing is said, and nothing is left running."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers
from benchmarks.peers import mix
from benchmarks.peers.__main__ import PEERS, main, parse_arguments
from benchmarks.peers.child import Child
from benchmarks.peers.jasmin import _CFG, _PORTS
from benchmarks.peers.kannel import _Boxes
from benchmarks.peers.meter import TreeMeter
from benchmarks.peers.mix import Message
from benchmarks.peers.peer import Unavailable
from benchmarks.peers.table import table
from benchmarks.peers.verdict import Arrival, Verdict, judge
from benchmarks.peers.web import Publisher, Reports
from gateway.embedded import HOST
from smpp.segment import TextEncoder

ONE, THREE = Message("573000000000", "short", 1), Message("573000000001", "long", 3)


def arrivals(*destinations: str) -> list[Arrival]:
    return [Arrival(to, 100.0 + number) for number, to in enumerate(destinations)]


@pytest.mark.parametrize(
    ("accepted", "reported", "doubted", "came", "expected"),
    [
        ((1, 1), (1, 1), (0, 0), [ONE.to, *[THREE.to] * 3], {"arrived": 2}),
        ((1, 1), (1, 0), (0, 0), [ONE.to, *[THREE.to] * 2], {"arrived": 1, "lost": 1}),
        ((1, 1), (1, 0), (0, 1), [ONE.to, *[THREE.to] * 2], {"arrived": 1, "in_doubt": 1}),
        ((1, 0), (1, 0), (0, 0), [ONE.to], {"accepted": 1, "arrived": 1}),
        ((1, 1), (0, 1), (0, 0), [ONE.to, *[THREE.to] * 3], {"arrived": 2, "unreported": 1}),
        ((1, 1), (1, 1), (0, 0), [ONE.to] * 3 + [THREE.to] * 4, {"arrived": 2, "duplicates": 3}),
    ],
    ids=["whole", "a part is lost", "lost and said", "never accepted", "no report", "twice"],
)
def test_the_verdict_follows_from_what_arrived(
    accepted: tuple[int, ...],
    reported: tuple[int, ...],
    doubted: tuple[int, ...],
    came: list[str],
    expected: dict[str, int],
) -> None:
    """A message counts when all its parts are there; what nobody accepted is not lost; what was said to be in doubt neither."""
    verdict = judge((ONE, THREE), accepted, reported, doubted, arrivals(*came))
    nothing = Verdict(2, 0, 0, 0, 0, 0, 100.0, 99.0 + len(came))
    for field in Verdict.__struct_fields__:
        assert getattr(verdict, field) == expected.get(field, getattr(nothing, field)), field


def test_nothing_at_all_arrives() -> None:
    """Without an arrival there is no moment, and everything accepted is lost."""
    verdict = judge((ONE, THREE), (1, 1), (0, 0), (0, 0), [])
    assert (verdict.arrived, verdict.lost, verdict.first_at, verdict.last_at) == (0, 2, 0.0, 0.0)


def test_the_mix_is_what_it_says() -> None:
    """Numbers ascend from 0, a fifth is long, and each has as many parts as an encoder cuts it into."""
    messages = mix.make(1001)
    encoder = TextEncoder(alphabets=("gsm7",))
    assert [mix.number_of(message.to) for message in messages] == list(range(1001))
    assert sum(message.parts == 3 for message in messages) == int(1001 * mix.LONG)
    for message in messages[:10]:
        assert encoder.count(message.text) == message.parts
        assert "{" not in message.text


class Answers:
    """An HTTP server that gives its answers in turn, the last for ever; None hangs up instead."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = list(answers)
        self.targets: list[bytes] = []

    async def __aenter__(self) -> "Answers":
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            self.targets.append(line.split()[1])
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if answer is None:
                break
            writer.write(answer)
        writer.close()


OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("first", [OK, CHUNKED, BUSY, None], ids=["length", "chunked", "busy", "hung up"])
async def test_a_publisher_insists_until_each_message_is_accepted(first: bytes | None) -> None:
    """A refusal and a lost connection are tried again, an answer of either form is read to its end."""
    async with Answers(first, OK) as server:
        publisher = Publisher(server.port, 3, lambda: 0)
        await publisher.run(["/0", "/1", "/2"], connections=1, seconds=10)
    assert publisher.accepted == b"\1\1\1"
    assert sorted(set(server.targets)) == [b"/0", b"/1", b"/2"]
    assert len(server.targets) == (3 if first in {OK, CHUNKED} else 4)


async def test_a_publisher_stops_when_its_time_is_over() -> None:
    """What is still refused then is given up, and not accepted."""
    async with Answers(BUSY) as server:
        publisher = Publisher(server.port, 2, lambda: 0)
        await publisher.run(["/0", "/1"], connections=1, seconds=0.01)
    assert publisher.accepted == b"\0\0"


async def test_a_publisher_waits_for_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never more than so many messages ahead of what has come back."""
    monkeypatch.setattr("benchmarks.peers.web._AHEAD", 2)
    monkeypatch.setattr("benchmarks.peers.web._RETRY_S", 0.001)
    async with Answers(OK) as server:
        seen: list[int] = []

        def reported() -> int:
            """Each second look finds one more message back than the look before."""
            seen.append(len(server.targets))
            return len(seen) // 2

        publisher = Publisher(server.port, 6, reported)
        await publisher.run([f"/{number}" for number in range(6)], connections=1, seconds=10)
    assert publisher.accepted == b"\1" * 6
    assert all(sent - look // 2 <= 2 for look, sent in enumerate(seen, 1))


async def test_reports_are_taken_however_they_are_cut() -> None:
    """Two reports in one packet, a third in pieces, with a query behind the number: each is noted and answered."""
    async with Reports(4) as reports:
        port = int(reports.url(0).rsplit(":", 1)[1].partition("/")[0])
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"GET /0 HTTP/1.1\r\nHost: x\r\n\r\nGET /2?id=7&dlvrd=001 HTTP/1.1\r\n\r\nGET /3 HT")
        await reader.readuntil(b"ACK/Jasmin")
        await reader.readuntil(b"ACK/Jasmin")
        assert reports.reported == b"\1\0\1\0"
        writer.write(b"TP/1.1\r\n\r\n")
        await reader.readuntil(b"ACK/Jasmin")
        assert reports.reported == b"\1\0\1\1"
        assert reports.last_at > 0
        writer.close()


def test_a_meter_counts_children_and_the_dead(tmp_path: Path) -> None:
    """CPU time of a child counts for its root, and stays when the root has ended and another has taken its place."""
    burn = "import time\nwhile time.process_time() < 0.2: pass\n"
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {burn + 'input()'!r}]).wait()"
    child = Child("burner", [sys.executable, "-c", code], tmp_path / "log", piped=True)
    roots = {"burner": child.pid}
    meter = TreeMeter(lambda: roots)
    patience = time.monotonic() + 30
    while meter.cpu_s()["burner"] < 0.2 and time.monotonic() < patience:
        pass
    used = meter.cpu_s()["burner"]
    assert used >= 0.2
    assert meter.peak_rss > 0
    child.stdin.close()
    child.kill()
    roots["burner"] = os.getpid()
    assert meter.cpu_s()["burner"] > used


ENTRY: dict[str, Any] = {
    "name": "kannel",
    "kind": "gateway",
    "run": {
        "messages_per_s": 1234.5,
        "cores_taken_by_others": 0.04,
        "cpu_s_per_100k": 50.0,
        "cpu_s_per_100k_by_process": {"bearerbox": 30.0, "redis": 20.0},
        "peak_rss_mb": 99.6,
    },
    "crash": {"lost": 0, "in_doubt": 1, "duplicate_parts": 2, "unreported": 3},
}


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (ENTRY, "| kannel | gateway | 1,234 | 0.0 | 50.0 | 20.0 | 100 | 0 | 1 | 2 | 3 |"),
        (ENTRY | {"crash": None}, "| kannel | gateway | 1,234 | 0.0 | 50.0 | 20.0 | 100 | – | – | – | – |"),
        (ENTRY | {"skipped": "no Kannel"}, "| kannel | gateway | skipped: no Kannel |  |  |  |  |  |  |  |  |"),
        (ENTRY | {"failed": "it ended\nlog"}, "| kannel | gateway | failed: it ended |  |  |  |  |  |  |  |  |"),
    ],
    ids=["both runs", "no crash", "skipped", "failed"],
)
def test_a_line_of_the_table(entry: dict[str, Any], line: str) -> None:
    """A peer that is missing or failed has a line that says so, of as many columns as the others."""
    assert table([entry]).splitlines()[2:] == [line]
    assert line.count("|") == table([]).splitlines()[0].count("|")


class Missing:
    """A peer that is not installed."""

    name = "kannel"
    facts = PEERS[0].facts

    def check(self) -> None:
        raise Unavailable("no Kannel here")


async def test_a_missing_peer_is_skipped_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no failure; what an earlier run knows of other peers stays in the file."""
    file = tmp_path / "result.json"
    earlier = {"name": "jasmin", "kind": "gateway"}
    file.write_text(json.dumps({"peers": [earlier, {"name": "kannel", "run": "of last week"}]}))
    monkeypatch.setattr(
        "benchmarks.peers.__main__.PEERS", (Missing(), *[peer for peer in PEERS if peer.name == "jasmin"])
    )
    await main(parse_arguments(["--only", "kannel", "--json", str(file)]))
    kannel, jasmin = json.loads(file.read_text())["peers"]
    assert (kannel["skipped"], jasmin) == ("no Kannel here", earlier)
    assert "run" not in kannel
    assert "kannel: skipped, no Kannel here" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--only", "kannel,nobody"], ["--messages", "0"]], ids=["peer", "messages"])
def test_what_means_nothing_is_refused(arguments: list[str]) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit) as error:
        parse_arguments(arguments)
    assert error.value.code == 2


async def test_the_configurations_are_filled_in(tmp_path: Path) -> None:
    """No brace is left for a peer to stumble over."""
    async with Reports(1) as reports:
        _Boxes(2775, 1, tmp_path, 'store-location = "{directory}/store"', reports)
    kannel = (tmp_path / "kannel.conf").read_text().partition("\n\n")[2]
    assert "{" not in kannel
    assert f'store-location = "{tmp_path}/store"' in kannel
    jasmin = _CFG.read_text().format(directory="d", spec="s", amqp_port=1, redis_port=2, **dict.fromkeys(_PORTS, 3))
    assert "{" not in jasmin


def test_each_configuration_names_its_page() -> None:
    """It says where its reader can look up why it is so."""
    files = [file for file in Path(peers.__file__).parent.iterdir() if file.suffix in {".cfg", ".conf", ".toml"}]
    assert len(files) == 5
    for file in files:
        assert file.read_text().startswith("# "), file


@pytest.mark.e2e
def test_a_library_is_measured_and_nothing_is_left_running(tmp_path: Path) -> None:
    """Our own SMPP package as the peer, for it is always there: everything arrives, with every receipt."""
    file = tmp_path / "result.json"
    options = ["--only", "recado-smpp", "--messages", "3000", "--json", str(file)]
    command = [sys.executable, "-m", "benchmarks.peers", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(file.read_text())["peers"]
    run = entry["run"]
    assert (run["messages"], run["lost"], run["duplicate_parts"], run["unreported"]) == (3000, 0, 0, 0)
    assert run["receipts_asked"] == 4200  # 600 of them of three parts
    assert run["cpu_s_per_100k"] > 0
    assert "| recado-smpp | library |" in done.stdout
