"""The configuration: its defaults, its derived names, and every problem at once with its path and a remedy."""

import socket
from pathlib import Path
from typing import get_type_hints

import pytest
from msgspec import Struct

from gateway.config import Adaptive, Caps, Config, ErrorRule, Lane, Portfolio, Route, load, loads
from gateway.errors import ConfigError, Problem
from gateway.model import TrafficClass
from gateway.tables import Secret

ENV = {"PW": "s3cret"}
LANE = """
[lanes.claro]
host = "smsc.example"
port = 2775
system_id = "recado"
password_env = "PW"
rate = 100
"""
CERTIFICATE = Path(__file__).parents[1] / "vectors" / "localhost.pem"
BASE = '[kafka]\nbootstrap = "localhost:9092"\n[store]\nurl = "redis://localhost"\n[[routes]]\nlane = "claro"\n' + LANE


def problems_of(text: str, env: dict[str, str] | None = None, folder: Path = Path()) -> dict[str, Problem]:
    with pytest.raises(ConfigError) as caught:
        loads(text, ENV if env is None else env, folder)
    problems = {problem.path: problem for problem in caught.value.problems}
    assert len(problems) == len(caught.value.problems)
    return problems


def lane_of(keys: str, folder: Path = Path()) -> Lane:
    lane = loads(BASE + keys, ENV, folder).lanes["claro"]
    assert isinstance(lane, Lane)
    return lane


def test_ten_lines_are_a_configuration() -> None:
    """What is not said has a default, the lane's account and burst too."""
    config = loads(BASE, ENV)
    lane = config.lanes["claro"]
    assert config.kafka.servers == ("localhost:9092",)
    assert (lane.name, lane.account, lane.rate, lane.burst, lane.slots) == ("claro", "claro", 100, 5, 1)
    assert lane.classes == tuple(TrafficClass)
    assert lane.password.reveal() == "s3cret"
    assert [config.classes.in_doubt(class_) for class_ in TrafficClass] == ["resend", "report", "report"]


def test_every_problem_is_listed_at_once() -> None:
    """One run shows all there is to mend: each with its path and what to do."""
    problems = problems_of(
        """
        [kafka]
        bootstrap = 9092
        replicaton = 3
        [store]
        [lanes.claro]
        host = ""
        port = 70000
        system_id = "recado"
        password = "s3cret"
        rate = -1
        clases = ["otp"]
        classes = ["otp", "urgent"]
        bind = "both"
        [lanes.Bad_Name]
        host = "h"
        port = 1
        system_id = "x"
        password_env = "NOWHERE"
        rate = 1
        [[routes]]
        lane = "clara"
        [limitz]
        [delay]
        rungs_s = [60, 5]
        [admin]
        port = "off"
        [webhooks]
        public_url = "messages.example.com"
        """
    )
    assert {path: problem.remedy for path, problem in problems.items()} == {
        "limitz": "did you mean limits?",
        "kafka.bootstrap": '"host:port", or a list: ["a:9092", "b:9092"]',
        "kafka.replicaton": "did you mean replication?",
        "store.url": "use one of: url, url_env, url_file",
        "lanes.claro.host": "a text in quotation marks, not empty",
        "lanes.claro.port": "a TCP port, from 1 to 65535",
        "lanes.claro.password": "use password_env or password_file",
        "lanes.claro.rate": "parts (submit_sm) per second, 0 pauses the lane",
        "lanes.claro.clases": "did you mean classes?",
        "lanes.claro.classes[1]": "one of: otp, transactional, bulk",
        "lanes.claro.bind": "one of: trx, txrx",
        "lanes.Bad_Name": "lower-case letters, digits and hyphens, at most 63",
        "lanes.Bad_Name.password_env": "set NOWHERE",
        "routes[0].lane": "did you mean claro?",
        "delay.rungs_s": "list the shortest first and none twice",
        "admin.port": "a TCP port, or 0 for off",
        "webhooks.public_url": "https://messages.example.com, or with a path",
    }


def test_an_error_prints_every_problem() -> None:
    """The text of the exception is fit for a person."""
    with pytest.raises(ConfigError) as caught:
        loads(BASE + 'bind = "both"\nwindow = 0\nmax_parts = "6"\nsender = "Año"', ENV)
    assert sorted(str(caught.value).splitlines()) == [
        "lanes.claro.bind: 'both' is none of the choices (one of: trx, txrx)",
        "lanes.claro.max_parts: expected a whole number, got a text (parts of one message, from 1 to 255)",
        "lanes.claro.sender: expected a text of another form (0 to 20 ASCII characters, as the operator says)",
        "lanes.claro.window: expected a whole number >= 1 (unanswered submit_sm per bind, from 1 to 10000)",
    ]


def test_an_empty_file_says_what_a_configuration_needs() -> None:
    """Each required section and key is named."""
    assert set(problems_of("")) == {"kafka.bootstrap", "store.url", "lanes", "routes"}


@pytest.mark.parametrize(
    "text", ["kafka = 1\nstore = []\nlanes = 5\nroutes = 7", "[lanes]\nclaro = 3\n[routes]\na = 1"]
)
def test_sections_of_the_wrong_shape_are_problems(text: str) -> None:
    """Nothing but ConfigError comes out, whatever stands where a table should."""
    assert {"kafka", "kafka.bootstrap"} & set(problems_of(text))
    assert "routes" in problems_of(text)


SECTIONS = {
    name: kind.__struct_encode_fields__
    for name, kind in get_type_hints(Config).items()
    if isinstance(kind, type) and issubclass(kind, Struct)
} | {
    "lanes.claro": Lane.__struct_encode_fields__,
    "lanes.claro.caps": Caps.__struct_encode_fields__,
    "lanes.claro.adaptive": Adaptive.__struct_encode_fields__,
    "lanes.claro.reserve": tuple(TrafficClass),
    "lanes.claro.weights": ("banco",),
    "lanes.claro.errors": ("default", "ESME_RSYSERR", "0x0411", "nonsense"),
    "lanes.claro.errors.default": ErrorRule.__struct_encode_fields__,
    "routes": Route.__struct_encode_fields__,
    "[routes]": Route.__struct_encode_fields__,
    "operators": ("claro", "732101"),
    "portfolios": ("andina", ""),
    "portfolios.andina": Portfolio.__struct_encode_fields__,
}


@pytest.mark.parametrize(
    "value", ["5", "-1", "1e400", '"x"', '"\\u0000"', "true", "[]", "[[1]]", "{}", "{a = 1}", "1979-05-27"]
)
@pytest.mark.parametrize("section", list(SECTIONS))
def test_no_value_of_any_key_is_a_surprise(section: str, value: str) -> None:
    """A configuration of one key is incomplete; nothing but ConfigError comes out, whatever the value."""
    for key in SECTIONS[section]:
        for name in (key, f"{key}_env", f"{key}_file"):
            with pytest.raises(ConfigError) as caught:
                loads(f"[{section}]\n{name} = {value}", ENV)
            assert all(problem.path and problem.what for problem in caught.value.problems)


def test_broken_toml_is_one_problem() -> None:
    """With the line that the parser stopped at."""
    problems = problems_of("[kafka\n")
    assert "line 1" in problems["syntax"].what


def test_a_lane_that_is_wrong_is_not_also_unknown_to_its_routes() -> None:
    """One mistake is one problem."""
    assert set(problems_of(BASE.replace("rate = 100", "rate = inf"))) == {"lanes.claro.rate"}


def test_a_route_to_a_class_that_its_lane_does_not_carry_is_a_problem() -> None:
    """No topic would exist for its messages."""
    text = BASE.replace('lane = "claro"', 'lane = "claro"\nclass = "otp"') + 'classes = ["bulk"]'
    assert set(problems_of(text)) == {"routes[0].class"}


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ("rate = nan", "rate"),
        ('rate = "100"', "rate"),
        ("burst = 0.5", "burst"),
        ("window = 0", "window"),
        ("window = true", "window"),
        ("binds = 65", "binds"),
        ("max_parts = 256", "max_parts"),
        ("classes = []", "classes"),
        ('classes = ["bulk", "bulk"]', "classes"),
        ('alphabets = ["ascii"]', "alphabets[0]"),
        ('message_id_format = "hex"', "message_id_format"),
        ('sender = "Año"', "sender"),
        ('system_type = "a\\u0000"', "system_type"),
        ('service_type = "toolong"', "service_type"),
        ("enquire_link_s = 0", "enquire_link_s"),
        ("reconnect_min_s = 61", "reconnect_min_s"),
        ('ca_file = "nowhere.pem"', "ca_file"),
        ('name = "other"', "name"),
        ('provider = "carrier-pigeon"', "provider"),
        ('password_file = "nowhere"', "password"),
        ("quiet_s = -1", "quiet_s"),
        ("fair_queues = 0", "fair_queues"),
        ("max_attempts = 0", "max_attempts"),
        ("network_tlv = 0x10000", "network_tlv"),
        ("weights = { banco = 0 }", "weights.banco"),
        ("caps = { tenant = -1 }", "caps.tenant"),
        ("caps = { tenant = { banco = 100, otro = true } }", "caps.tenant.otro"),
        ("caps = { tenants = 10 }", "caps.tenants"),
        ("caps = 10", "caps"),
        ("adaptive = { cut = 0 }", "adaptive.cut"),
        ("adaptive = { floor = 0 }", "adaptive.floor"),
        ("reserve = { bulk = 0.6 }", "reserve.bulk"),
        ("reserve = { bulk = 0.3, transactional = 0.3 }", "reserve"),
        ("reserve = { otp = 0.1 }", "reserve"),
        ("reserve = { urgent = 0.1 }", "reserve.urgent"),
        ('errors = { ESME_RSYSERR = "unknown" }', "errors.ESME_RSYSERR"),
        ('errors = { ESME_RSYSER = "retry" }', "errors.ESME_RSYSER"),
        ('errors = { 0x0411 = "retire" }', "errors.0x0411"),
        ('errors = { 0 = "retry" }', "errors.0"),
        ('errors = { 0x08 = "retry", ESME_RSYSERR = "rejected" }', "errors.ESME_RSYSERR"),
        ("errors = { default = { attempts = 2 } }", "errors.default.disposition"),
        ('errors = { default = { disposition = "retry", after = 2 } }', "errors.default.after"),
        ('errors = { default = { disposition = "rejected", after_s = 2 } }', "errors.default.after_s"),
        ('errors = { default = { disposition = "throttled", attempts = 2 } }', "errors.default.attempts"),
    ],
)
def test_a_value_outside_its_bounds_is_refused(keys: str, path: str) -> None:
    """Every bound is checked when the file is read, not when the lane connects."""
    text = BASE.replace("rate = 100\n", "") if keys.startswith("rate") else BASE
    assert set(problems_of(text + keys)) == {f"lanes.claro.{path}"}


@pytest.mark.parametrize("host", ["smsc..example", ".example", "a" * 64 + ".example"])
def test_a_host_that_cannot_be_looked_up_is_refused(host: str) -> None:
    """No answer of any name server could mend it."""
    problem = problems_of(BASE.replace('host = "smsc.example"', f'host = "{host}"'))["lanes.claro.host"]
    assert "1 to 63 characters" in problem.remedy


@pytest.mark.parametrize("host", ["10.0.0.1", "::1", "smsc_1.example.", "señal.example"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    """Whether there is such a host is seen when the lane connects."""
    config = loads(BASE.replace('host = "smsc.example"', f'host = "{host}"'), ENV)
    assert isinstance(lane := config.lanes["claro"], Lane)
    assert lane.host == host


@pytest.mark.parametrize("section", ["admin", "webhooks"])
def test_where_it_listens_is_a_name_or_an_address_too(section: str) -> None:
    """Nobody could ever listen there."""
    problem = problems_of(BASE + f'[{section}]\nhost = "a..b"')[f"{section}.host"]
    assert "1 to 63 characters" in problem.remedy
    assert loads(BASE + f'[{section}]\nhost = "::1"', ENV)


@pytest.mark.parametrize(
    "servers",
    [
        *(
            '"a:9092,b:9092"',
            '"a:port"',
            '"a:"',
            '":9092"',
            '"a:0"',
            '"a:99999"',
            '"a..b:9092"',
            '"a:9092/x"',
            '"kafka://a:9092"',
        ),
        *('"[::1"', '["a:9092", "b:port"]'),
    ],
)
def test_a_broker_that_cannot_be_looked_up_is_refused(servers: str) -> None:
    """Several in one text would be taken for one; the remedy shows a list."""
    problem = problems_of(BASE.replace('"localhost:9092"', servers))["kafka.bootstrap"]
    assert '["a:9092", "b:9092"]' in problem.remedy


@pytest.mark.parametrize(
    "servers", ['"kafka-1"', '" kafka_1.example:9092"', '"[::1]:9092"', '["a:9092", "10.0.0.1:9093"]']
)
def test_brokers_are_hosts_with_or_without_a_port(servers: str) -> None:
    """As their client reads them."""
    assert loads(BASE.replace('"localhost:9092"', servers), ENV).kafka.servers


@pytest.mark.parametrize(
    "url",
    [
        "redis://valkey:port/0",
        "redis://valkey:0",
        "redis://a..b:6379/0",
        "rediss://[::1/0",
        "redis://:hidden/2@valkey:6379/0",
    ],
)
def test_a_store_that_cannot_be_looked_up_is_refused(url: str) -> None:
    """With nothing of the URL in the problem."""
    text = BASE.replace('url = "redis://localhost"', 'url_env = "URL"')
    problem = problems_of(text, ENV | {"URL": url})["store.url"]
    assert "redis://host:6379/0" in problem.remedy
    assert "hidden" not in str(problem)


@pytest.mark.parametrize(
    "url", ["redis://", "rediss://valkey/1", "redis://[::1]:6379/0", "unix:///run/valkey.sock?db=1"]
)
def test_a_store_needs_neither_a_host_nor_a_port(url: str) -> None:
    """Its client knows both, and a socket has none."""
    assert loads(BASE.replace("redis://localhost", url), ENV).store.url.reveal() == url


@pytest.mark.parametrize("password", ["123456789", "contraseña", "ñ", "a\0b"])
def test_a_password_that_a_bind_cannot_carry_is_refused(password: str) -> None:
    """Eight ASCII characters, SMPP 3.4 §4.1.1; the problem does not quote it."""
    problem = problems_of(BASE, {"PW": password})["lanes.claro.password"]
    assert "8 ASCII characters" in problem.remedy
    assert password not in str(problem)


def test_an_account_writes_its_ids_in_one_format() -> None:
    """Receipts are read by the account: the lane of the other format would never hear of its messages."""
    hex_ids = 'account = "tim"\nmessage_id_format = "both_hex"\n'
    other = LANE.replace("lanes.claro", "lanes.tigo")
    problems = problems_of(BASE + hex_ids + other + 'account = "tim"\n' + other.replace("tigo", "tim"))
    assert {path: str(problem) for path, problem in problems.items()} == {
        f"lanes.{name}.account": f"lanes.{name}.account: is also that of lane claro, whose message_id_format is another "
        "(one format for all lanes of an account)"
        for name in ("tigo", "tim")
    }
    assert len(loads(BASE + hex_ids + other + hex_ids, ENV).lanes) == 2
    assert len(loads(BASE + hex_ids + other, ENV).lanes) == 2


@pytest.mark.parametrize("env", [{}, {"PW": ""}])
def test_a_secret_that_is_not_there_is_a_problem(env: dict[str, str]) -> None:
    """An empty variable is as bad as none."""
    assert problems_of(BASE, env)["lanes.claro.password_env"].remedy == "set PW"


def test_a_secret_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    """Without the line break that editors put at its end."""
    (tmp_path / "pw").write_text("s3cret\n", encoding="utf-8")
    config = loads(BASE.replace('password_env = "PW"', 'password_file = "pw"'), {}, tmp_path)
    assert config.lanes["claro"].password.reveal() == "s3cret"


def test_no_representation_shows_a_secret() -> None:
    """Neither the secret's nor that of any tree around it, formatted or not."""
    config = loads(BASE.replace('url = "redis://localhost"', 'url_env = "URL"'), ENV | {"URL": "redis://:hidden@h"})
    for text in (repr(config), str(config), f"{config.lanes['claro'].password}", f"{config.store.url!r}"):
        assert "s3cret" not in text
        assert "hidden" not in text
    assert config.store.url.reveal() == "redis://:hidden@h"
    assert not Secret("")


def test_a_store_url_with_a_password_does_not_stand_in_the_file() -> None:
    """It is a secret then; the problem does not quote it either."""
    for url in ("redis://:hidden@localhost", "redis://localhost?password=hidden"):
        problem = problems_of(BASE.replace("redis://localhost", url))["store.url"]
        assert problem.remedy == "use url_env or url_file"
        assert "hidden" not in str(problem)


def test_a_store_url_of_another_kind_is_refused() -> None:
    """Only Redis and Valkey are known."""
    assert set(problems_of(BASE.replace("redis://", "http://"))) == {"store.url"}


def test_sasl_needs_a_name_and_a_password() -> None:
    """A mechanism alone logs nobody in."""
    text = BASE.replace("[store]", 'sasl_mechanism = "PLAIN"\nsasl_username = "u"\n[store]')
    assert set(problems_of(text)) == {"kafka.sasl_mechanism"}
    complete = text.replace("[store]", 'sasl_password_env = "PW"\n[store]')
    assert loads(complete, ENV).kafka.sasl_password.reveal() == "s3cret"


def test_topics_follow_prefix_lanes_classes_and_rungs() -> None:
    """A lane's topics exist for its classes only, with a partition for each slot."""
    text = BASE.replace("[store]", 'prefix = "x"\njobs_partitions = 3\n[store]')
    config = loads(text + 'binds = 2\nfair_queues = 1\nclasses = ["otp", "bulk"]\n[delay]\nrungs_s = [5, 60]', ENV)
    assert config.topics() == {
        "x.jobs": 3,
        "x.events": 8,
        "x.inbound": 4,
        "x.dead": 1,
        "x.delay.5": 4,
        "x.delay.60": 4,
        "x.lane.claro.otp": 2,
        "x.lane.claro.bulk": 2,
    }
    assert config.kafka.lane_topic("claro", TrafficClass.OTP) == "x.lane.claro.otp"


def test_fair_queues_have_topics_of_their_own() -> None:
    """The first keeps the name that it has without them: what waits there is not left behind."""
    config = loads(BASE + 'binds = 2\nclasses = ["bulk"]\nfair_queues = 3', ENV)
    lane = "recado.lane.claro.bulk"
    assert {name: n for name, n in config.topics().items() if ".lane." in name} == dict.fromkeys(
        (lane, f"{lane}-1", f"{lane}-2"), 2
    )
    assert [config.kafka.lane_topic("claro", TrafficClass.BULK, queue) for queue in (0, 2)] == [lane, f"{lane}-2"]


def test_caps_are_alike_or_by_name() -> None:
    """A number is everybody's, a table names some and with * all others; without one there is no cap."""
    caps = lane_of('caps = { sender = 50, tenant = { banco = 100, "*" = 20 }, campaign = { navidad = 0 } }').caps
    assert caps.kinds == ("sender", "tenant", "campaign")
    assert (caps.of("sender", "89000"), caps.of("sender", "")) == (50, 50)
    assert (caps.of("tenant", "banco"), caps.of("tenant", "otro")) == (100, 20)
    assert (caps.of("campaign", "navidad"), caps.of("campaign", "")) == (0, None)
    assert lane_of("").caps.kinds == ()


def test_a_reserve_that_is_not_set_has_its_default() -> None:
    """Class by class; the most urgent goes first and needs none."""
    assert lane_of("reserve = { bulk = 0.2 }").reserve == {"transactional": 0.05, "bulk": 0.2}


def test_errors_are_known_by_name_whatever_they_are_called() -> None:
    """Decimal, hexadecimal or by name; a bare disposition is a rule without figures."""
    lane = lane_of(
        'errors = { 8 = "rejected", 0x58 = "retry", 0x411 = "stop", 1042 = "hold", ESME_RINVDSTADR = "throttled", '
        'default = { disposition = "retry", after_s = 60, attempts = 3 } }'
    )
    assert {name: getattr(lane.error(name), "disposition", None) for name in lane.errors} == {
        "ESME_RSYSERR": "rejected",
        "ESME_RTHROTTLED": "retry",
        "0x00000411": "stop",
        "0x00000412": "hold",
        "ESME_RINVDSTADR": "throttled",
        "default": "retry",
    }
    assert lane.error("default") == ErrorRule(disposition="retry", after_s=60, attempts=3)
    assert lane.error("ESME_RSUBMITFAIL") is None


ROUTE = BASE.replace('lane = "claro"\n', "{}\n", 1) + LANE.replace("claro", "tigo")


def route_of(keys: str) -> Route:
    return loads(ROUTE.replace("{}", keys), ENV).routes[0]


@pytest.mark.parametrize(
    ("keys", "ranks"),
    [
        ('lane = "claro"', ((("claro", 1),),)),
        ('lanes = ["claro"]', ((("claro", 1),),)),
        ('lanes = ["claro", "tigo"]', ((("claro", 1),), (("tigo", 1),))),
        ("lanes = [{ claro = 3, tigo = 1 }]", ((("claro", 3), ("tigo", 1)),)),
        ('lanes = [{ claro = 3 }, "tigo"]', ((("claro", 3),), (("tigo", 1),))),
    ],
)
def test_a_route_ranks_its_lanes(keys: str, ranks: object) -> None:
    """One, several in the order of preference, or several that share."""
    assert route_of(keys).ranks == ranks


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ("", "lane"),
        ('lane = "claro"\nlanes = ["tigo"]', "lane"),
        ("lanes = []", "lanes"),
        ("lanes = [{}]", "lanes"),
        ("lanes = [5]", "lanes[0]"),
        ("lanes = [{ claro = 0 }]", "lanes[0]"),
        ('lanes = ["claro", "movistar"]', "lanes"),
        ('lanes = ["claro", { tigo = 1, claro = 1 }]', "lanes"),
        ('lane = "claro"\ncountry = "Colombia"', "country"),
        ('lane = "claro"\ncountry = "XX"', "country"),
        ('lane = "claro"\ncountry = ["CO", "XX"]', "country"),
        ('lane = "claro"\ncountry = []', "country"),
        ('lane = "claro"\ncountry = "CO"\nprefix = "+55"', "prefix"),
        ('lane = "claro"\nchannel = "whatsapp"', "channel"),
        ('lane = "claro"\noperator = "movistar"', "operator"),
        ('lane = "claro"\noperator = "7321012"', "operator"),
    ],
)
def test_a_route_that_makes_no_sense_is_refused(keys: str, path: str) -> None:
    """With its path, and once."""
    assert set(problems_of(ROUTE.replace("{}", keys))) == {f"routes[0].{path}"}


@pytest.mark.parametrize(
    ("keys", "areas"),
    [
        ("", (("", ""),)),
        ('prefix = "+573"', (("+573", ""),)),
        ('country = "CO"', (("+57", ""),)),
        ('country = ["CO", "EC"]', (("+57", ""), ("+593", ""))),
        ('country = "DO"', (("+1", "DO"),)),
        ('country = "CO"\nprefix = "+573"', (("+573", ""),)),
        ('country = "CO"\nprefix = "+5"', (("+57", ""),)),
        ('country = ["CO", "DO"]\nprefix = "+1809"', (("+1809", "DO"),)),
    ],
)
def test_a_country_is_a_beginning_of_numbers_where_it_can_be(keys: str, areas: object) -> None:
    """Only those that share a calling code have to be asked for number by number."""
    assert route_of(f'lane = "claro"\n{keys}').areas == areas


def test_operators_are_named_by_their_networks() -> None:
    """With a hyphen or without; a route names either, and a name that is itself a network would be neither."""
    text = ROUTE.replace("{}", 'lane = "claro"\noperator = "claro"')
    assert loads(text + '[operators]\nclaro = ["732101", "732-101"]', ENV).operators == {"claro": ("732101", "732101")}
    assert loads(ROUTE.replace("{}", 'lane = "claro"\noperator = "732-101"'), ENV).routes[0].operator == "732-101"
    assert set(problems_of(text + "[operators]\nclaro = [732101]")) == {"operators.claro[0]"}
    assert set(problems_of(text + '[operators]\nclaro = []\n732101 = ["732101"]')) == {"operators.732101"}
    assert problems_of(text + "[operators]\nclara = []")["routes[0].operator"].remedy == "did you mean clara?"


def test_every_process_of_a_file_is_its_own_member() -> None:
    """Where membership is static; the machine's name may be part of it. A dynamic one stays so."""
    text = BASE.replace("[store]", 'instance = "gw-{host}"\n[store]')
    worker = loads(text, ENV).for_worker(2)
    assert worker.kafka.instance == f"gw-{socket.gethostname()}.2"
    assert worker.lanes == loads(text, ENV).lanes
    assert loads(BASE, ENV).for_worker(2) == loads(BASE, ENV)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (5, 1), (20, 1), (100, 5), (1000, 50)])
def test_the_burst_is_fifty_milliseconds_of_the_rate(rate: int, burst: float) -> None:
    """And at least one part."""
    assert loads(BASE.replace("rate = 100", f"rate = {rate}"), ENV).lanes["claro"].burst == burst


@pytest.mark.parametrize(
    ("sender", "numbering"),
    [
        ("89000", (3, 0)),
        ("12345678", (3, 0)),
        ("+573001234567", (1, 1)),
        ("573001234567", (1, 1)),
        ("Banco", (5, 0)),
        ("", (0, 0)),
    ],
)
def test_a_sender_is_numbered_by_its_shape(sender: str, numbering: tuple[int, int]) -> None:
    """Short code, international number, letters, or none."""
    assert lane_of("").source_numbering(sender) == numbering


def test_a_lane_may_set_the_numbering_of_its_senders() -> None:
    """Each of the two for itself, 0 included."""
    assert lane_of("source_ton = 0").source_numbering("89000") == (0, 0)
    assert lane_of("source_npi = 9").source_numbering("89000") == (3, 9)


def test_a_file_is_loaded_with_the_environment_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with paths relative to itself."""
    monkeypatch.setenv("PW", "s3cret")
    (tmp_path / "ca.pem").write_bytes(CERTIFICATE.read_bytes())
    (tmp_path / "recado.toml").write_text(BASE + 'tls = true\nca_file = "ca.pem"', encoding="utf-8")
    assert load(tmp_path / "recado.toml").lanes["claro"].ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    "held", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"]
)
def test_a_ca_file_without_a_certificate_is_a_problem(tmp_path: Path, held: bytes) -> None:
    """Else a worker would end of it, or a lane be down for ever, long after the check."""
    (tmp_path / "ca.pem").write_bytes(held)
    assert list(problems_of(BASE + 'tls = true\nca_file = "ca.pem"', folder=tmp_path)) == ["lanes.claro.ca_file"]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """Absent, a folder, or not UTF-8."""
    (tmp_path / "latin.toml").write_bytes(b"# a\xf1o\n")
    for path in (tmp_path / "absent.toml", tmp_path, tmp_path / "latin.toml"):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.problems[0].path == str(path)
