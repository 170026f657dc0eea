"""A file becomes jobs: what is read, what is refused with its line, and how recipients are cut into jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import campaign
from gateway.campaign import BadRow, Row, UnusableFile, checked, jobs, publish, read_csv, read_jsonl, survey
from gateway.content.model import Content
from gateway.model import Job, Recipient, decode_job, encode_job

FORM = Job(job_id="nov", text="Hola {nombre}", recipients=[], tenant="banco")


def csv(*lines: str) -> list[Row | BadRow]:
    return list(read_csv("".join(f"{line}\n" for line in lines).splitlines(keepends=True)))


def recipients(count: int, **params: str) -> Iterator[Row | BadRow]:
    return (Row(line, Recipient(f"+57300{line:07d}", "", dict(params))) for line in range(1, count + 1))


def test_columns_beside_to_and_message_id_are_parameters() -> None:
    """In any order, and as the texts that they are."""
    rows = csv("nombre,to,message_id,valor", "Ana,+573001234567,m-1,010")
    assert rows == [Row(2, Recipient("+573001234567", "m-1", {"nombre": "Ana", "valor": "010"}))]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_of_the_header(delimiter: str) -> None:
    """Spreadsheets of Latin America write semicolons."""
    rows = csv(f"to{delimiter}nombre", f'+573001234567{delimiter}"Peña, Ana; B"')
    assert rows == [Row(2, Recipient("+573001234567", "", {"nombre": "Peña, Ana; B"}))]


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    """Spreadsheets write it in front of UTF-8."""
    assert csv("\ufeffto", "+573001234567") == [Row(2, Recipient("+573001234567"))]


def test_an_empty_cell_is_a_missing_parameter() -> None:
    """Nobody wants to be greeted with `Hola ,`."""
    rows = list(checked(iter(csv("to,nombre", "+573001234567,")), FORM))
    assert rows == [BadRow(2, "parameter 'nombre' is missing")]


def test_rows_that_do_not_fit_the_header_are_bad_and_the_others_good() -> None:
    """Each is known by the line on which it begins, also behind a cell of two lines."""
    rows = csv("to,nombre", "+573001234567", '+573001234567,"Ana\nMaría"', "+573001234567,a,b", "", "+573001234568,Luz")
    assert [row.line for row in rows] == [2, 3, 5, 7]
    assert [type(row) for row in rows] == [BadRow, Row, BadRow, Row]
    assert isinstance(rows[0], BadRow)
    assert rows[0].reason == "1 cells under 2 columns"


@pytest.mark.parametrize(
    "lines", [(), ("nombre",), ("to,nombre,nombre",), ("to,,nombre",), ("to", '"+57300"x'), ("to", '"never closed')]
)
def test_a_file_that_is_no_campaign_is_unusable(lines: tuple[str, ...]) -> None:
    """No column `to`, columns that cannot be told apart, broken quotes."""
    with pytest.raises(UnusableFile):
        csv(*lines)


def test_a_line_of_json_is_a_recipient_or_a_whole_job() -> None:
    """What has recipients is a job, and is published as it is."""
    lines = [
        b'{"to": "+573001234567", "params": {"n": 1}}',
        b"",
        b'{"job_id": "j", "text": "x", "recipients": [{"to": "+1"}]}',
    ]
    rows = list(read_jsonl(lines))
    assert rows == [
        Row(1, Recipient("+573001234567", "", {"n": 1})),
        Row(3, Job(job_id="j", text="x", recipients=[Recipient("+1")])),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """Its recipient would be left out."""
    line = b'{"to": "+573001234567"}'
    assert list(read_jsonl([b"\xef\xbb\xbf" + line, line])) == [Row(n, Recipient("+573001234567")) for n in (1, 2)]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"too": 1}',
        b'{"to": 57}',
        b'{"recipients": []}',
        b'{"to": "\xff"}',
        b'{"to": "1", "x": 1}',
        b'{"x": ' + b"[" * 9999,
    ],
)
def test_a_line_that_is_neither_is_a_bad_row(line: bytes) -> None:
    """The lines behind it are read."""
    bad, good = read_jsonl([line, b'{"to": "+573001234567"}'])
    assert isinstance(bad, BadRow)
    assert bad.line == 1
    assert good == Row(2, Recipient("+573001234567"))


def test_what_the_gateway_would_reject_is_bad_before_it_is_published() -> None:
    """A number that nobody has, and a parameter that the text wants; the reason quotes neither."""
    rows = [Row(2, Recipient("3001234567", "", {"nombre": "Ana"})), Row(3, Recipient("+573001234567"))]
    bad = list(checked(iter(rows), FORM))
    assert [row.line for row in bad] == [2, 3]
    assert not any("300" in str(row) for row in bad)


def test_a_whole_job_that_no_broker_takes_is_bad() -> None:
    """Its recipients are its own business; its size is not."""
    job = Job(job_id="j", text="x", recipients=[Recipient("nonsense", "", {"p": "y" * campaign.MAX_OCTETS})])
    small = Job(job_id="j", text="x", recipients=[Recipient("nonsense")])
    large, passed = checked(iter([Row(1, job), Row(2, small)]), None)
    assert isinstance(large, BadRow)
    assert passed == Row(2, small)


@pytest.mark.parametrize(
    "job",
    [
        Job(job_id="j", text="Hola {nombre", recipients=[Recipient("+1")]),
        Job(job_id="j", text="Hola", recipients=[Recipient("+1")], fallback=(Content(text="{"),)),
    ],
)
def test_a_whole_job_that_the_gateway_would_not_read_is_bad(job: Job) -> None:
    """It would go to the dead topic."""
    (bad,) = checked(iter([Row(1, job)]), None)
    assert isinstance(bad, BadRow)
    assert "a brace without its partner" in bad.reason


def test_a_survey_counts_messages_and_those_that_need_a_form() -> None:
    """Those of whole jobs, and those on lines of their own."""
    job = Job(job_id="j", text="x", recipients=[Recipient("+1"), Recipient("+2")])
    found = survey(iter([Row(1, job), BadRow(2, "bad"), Row(3, Recipient("+3"))]))
    assert (found.messages, found.recipients, found.bad) == (3, 1, [BadRow(2, "bad")])


def test_ids_do_not_depend_on_what_was_left_out_or_on_the_size_of_jobs() -> None:
    """So that a file that was corrected and sent again reaches nobody twice."""
    broken = [Row(2, Recipient("+1")), BadRow(3, "bad"), Row(4, Recipient("+3"))]
    corrected = [Row(2, Recipient("+1")), Row(3, Recipient("+2")), Row(4, Recipient("+3"))]
    first = {r.to: r.message_id for job in jobs(iter(broken), FORM, 500) for r in job.recipients}
    second = {r.to: r.message_id for job in jobs(iter(corrected), FORM, 1) for r in job.recipients}
    assert first == {"+1": "nov:2", "+3": "nov:4"}
    assert first.items() <= second.items()


def test_an_id_of_ones_own_is_kept() -> None:
    """It is the publisher's."""
    (job,) = jobs(iter([Row(2, Recipient("+1", "mine"))]), FORM, 500)
    assert job.recipients[0].message_id == "mine"


def test_jobs_are_the_form_with_numbered_ids() -> None:
    """Whatever else the form says, each job says."""
    made = list(jobs(recipients(5), FORM, 2))
    assert [(job.job_id, len(job.recipients)) for job in made] == [("nov-0001", 2), ("nov-0002", 2), ("nov-0003", 1)]
    assert {(job.text, job.tenant) for job in made} == {("Hola {nombre}", "banco")}


def test_ids_made_of_the_longest_job_id_are_read() -> None:
    """On whatever line: a job with one that is too long would be a dead letter as a whole."""
    form = Job(job_id="j" * campaign.MAX_JOB_ID, text="x", recipients=[])
    (job,) = jobs(iter([Row(999_999_999, Recipient("+573001234567"))]), form, 1)
    assert decode_job(encode_job(job)) == job


def test_a_recipient_without_a_form_is_refused() -> None:
    """There is no text for it."""
    with pytest.raises(UnusableFile, match="line 1"):
        list(jobs(recipients(1), None, 500))


@given(
    sizes=st.lists(st.integers(1, campaign.MAX_OCTETS // 3), max_size=30),
    per_job=st.integers(1, 12),
)
def test_jobs_hold_everybody_once_in_order_and_fit_into_a_record(sizes: list[int], per_job: int) -> None:
    """However large the parameters are, and every job is one that the gateway reads."""
    rows = [Row(line, Recipient(f"+{line}", "", {"nombre": "x" * size})) for line, size in enumerate(sizes)]
    made = list(jobs(iter(rows), FORM, per_job))
    assert [r.to for job in made for r in job.recipients] == [f"+{line}" for line in range(len(sizes))]
    assert len({job.job_id for job in made}) == len(made)
    for job in made:
        octets = encode_job(job)
        assert 1 <= len(job.recipients) <= per_job
        assert len(octets) <= campaign.MAX_OCTETS
        assert decode_job(octets) == job


class Broker:
    """Stands in for a producer: acknowledges all but the records that it was told to refuse."""

    def __init__(self, refused: set[bytes]) -> None:
        self.values: list[bytes] = []
        self._refused = refused

    async def send(self, topic: str, value: bytes) -> asyncio.Future[object]:
        self.values.append(value)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if value in self._refused:
            asyncio.get_running_loop().call_soon(future.set_exception, ConnectionError("away"))
        else:
            asyncio.get_running_loop().call_soon(future.set_result, None)
        return future


async def test_every_acknowledged_job_is_counted() -> None:
    """With its number of messages, whatever the number of jobs."""
    broker, counts = Broker(set()), []
    records = [(b"%d" % n, n) for n in range(100)]
    await publish(broker, "jobs", records, counts.append)
    assert broker.values == [value for value, _ in records]
    assert sum(counts) == sum(range(100))


async def test_a_job_that_failed_is_raised_after_the_others_have_an_outcome() -> None:
    """Those that Kafka has are counted: a person is told how far it got."""
    broker, counts = Broker({b"7"}), []
    with pytest.raises(ConnectionError):
        await publish(broker, "jobs", [(b"%d" % n, 1) for n in range(10)], counts.append)
    assert len(counts) == 9
