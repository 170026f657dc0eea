"""What a changed file means: applied at once, or refused as a whole with every reason."""

from pathlib import Path

import pytest

from gateway.config import Config, loads
from gateway.reload import Changes, changes

BASE = """
[kafka]
bootstrap = "localhost:9092"
[store]
url_env = "URL"
[operators]
claro = ["732101"]
[[routes]]
lane = "claro"
[lanes.claro]
host = "smsc.example"
port = 2775
system_id = "recado"
password_env = "PW"
rate = 100
burst = 5
caps = { tenant = { banco = 10 } }
errors = { ESME_RSYSERR = "retry" }
"""
ENV = {"PW": "s3cret", "URL": "redis://:hidden@localhost"}
LANE = BASE[BASE.index("[lanes") :]


def config_of(text: str, **env: str) -> Config:
    return loads(text, ENV | env)


def changed(old: str, new: str, **env: str) -> Changes:
    text = BASE.replace(old, new, 1)
    assert text != BASE or env
    return changes(config_of(BASE), config_of(text, **env))


def test_a_file_that_says_the_same_changes_nothing() -> None:
    """Its secrets are read anew and are the same."""
    assert not changes(config_of(BASE), config_of(BASE + "# a comment\n"))


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("rate = 50", "lanes.claro.rate: 100.0 → 50.0"),
        ("rate = 0", "lanes.claro.rate: 100.0 → 0.0"),
        ("rate = 100\nwindow = 20", "lanes.claro.window: 10 → 20"),
        ("rate = 100\nquiet_s = 30", "lanes.claro.quiet_s: 0 → 30.0"),
        ("rate = 100\nthrottle_pause_s = 5", "lanes.claro.throttle_pause_s: 1 → 5.0"),
        ("rate = 100\nadaptive = { cut = 0.8 }", "lanes.claro.adaptive.cut: 0.5 → 0.8"),
        ("rate = 100\nreserve = { bulk = 0.1 }", "lanes.claro.reserve.bulk: 0.05 → 0.1"),
        ("rate = 100\nweights = { banco = 3 }", "lanes.claro.weights.banco: not set → 3"),
        ("rate = 100\nmax_attempts = 3", "lanes.claro.max_attempts: 16 → 3"),
        ("rate = 100\ndown_after_s = 5", "lanes.claro.down_after_s: 30 → 5.0"),
        ("rate = 100\nup_after_s = 5", "lanes.claro.up_after_s: 60 → 5.0"),
    ],
)
def test_what_a_lane_does_with_messages_changes_at_once(new: str, said: str) -> None:
    """Rates, windows, patience."""
    found = changed("rate = 100", new)
    assert [str(change) for change in found.live] == [said]
    assert found.refused == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("burst = 5", "burst = 9", "lanes.claro.burst: 5.0 → 9.0"),
        ("{ banco = 10 }", "{ banco = 20 }", "lanes.claro.caps.tenant.banco: 10.0 → 20.0"),
        ("{ banco = 10 }", '{ banco = 10, "*" = 5 }', "lanes.claro.caps.tenant.*: not set → 5.0"),
        ('= "retry"', '= "rejected"', "lanes.claro.errors.ESME_RSYSERR.disposition: retry → rejected"),
        ('ESME_RSYSERR = "retry"', "", "lanes.claro.errors.ESME_RSYSERR: set → not set"),
        ('lane = "claro"', 'lane = "claro"\nprefix = "+57"', "routes[0].prefix: not set → +57"),
        ('lane = "claro"', 'lanes = ["claro"]', None),
        ("[[routes]]", '[[routes]]\nlane = "claro"\nprefix = "+57"\n[[routes]]', None),
        ("[store]", '[classes.otp]\nin_doubt = "report"\n[store]', "classes.otp.in_doubt: resend → report"),
        ('["732101"]', '["732101", "73202"]', "operators.claro: 732101 → 732101, 73202"),
    ],
)
def test_tables_change_at_once(old: str, new: str, said: str | None) -> None:
    """Caps, errors, routes, operators, what to do in doubt."""
    found = changed(old, new)
    assert found.live
    assert said in (None, *map(str, found.live))
    assert found.refused == ()


@pytest.mark.parametrize(
    ("old", "new", "path", "remedy"),
    [
        ("smsc.example", "other.example", "lanes.claro.host", "bind anew"),
        ("2775", "2776", "lanes.claro.port", "bind anew"),
        ('"recado"', '"else"', "lanes.claro.system_id", "bind anew"),
        ("rate = 100", "rate = 100\ntls_verify = false", "lanes.claro.tls_verify", "bind anew"),
        ("rate = 100", "rate = 100\nbinds = 2", "lanes.claro.binds", "recado topics"),
        ("rate = 100", "rate = 100\nfair_queues = 2", "lanes.claro.fair_queues", "recado topics"),
        ("rate = 100", 'rate = 100\nclasses = ["otp"]', "lanes.claro.classes", "recado topics"),
        ("rate = 100", 'rate = 100\nsender = "89000"', "lanes.claro.sender", "restart"),
        ("localhost:9092", "kafka:9092", "kafka.bootstrap", "restart"),
        ("[store]", "jobs_partitions = 9\n[store]", "kafka.jobs_partitions", "recado topics"),
        ("[store]", "[delay]\nrungs_s = [5]\n[store]", "delay.rungs_s", "recado topics"),
        ("[store]", "[limits]\nbatch_messages = 5\n[store]", "limits.batch_messages", "restart"),
        ("[lanes", LANE.replace("claro", "tigo") + "[lanes", "lanes.tigo", "topics"),
    ],
)
def test_what_was_made_at_the_start_needs_a_restart(old: str, new: str, path: str, remedy: str) -> None:
    """Connections, topics, partitions; with a remedy."""
    found = changed(old, new)
    assert [problem.path for problem in found.refused] == [path]
    assert remedy in found.refused[0].remedy


def test_every_reason_is_given_beside_what_could_be_applied() -> None:
    """So that whoever applies sees that it must not."""
    found = changed("rate = 100", "rate = 50\nbinds = 2\nsender = '1'")
    assert [change.path for change in found.live] == ["lanes.claro.rate"]
    assert [problem.path for problem in found.refused] == ["lanes.claro.binds", "lanes.claro.sender"]


def test_a_changed_secret_is_noticed_and_not_shown() -> None:
    """Neither the old nor the new one."""
    found = changed("", "", PW="n3w", URL="redis://:other@localhost")
    assert [problem.path for problem in found.refused] == ["store.url", "lanes.claro.password"]
    for secret in (*ENV.values(), "n3w", "other"):
        assert secret not in str(found)


WA = """
[kafka]
bootstrap = "localhost:9092"
[store]
url = "redis://localhost"
[[routes]]
channel = "whatsapp"
lane = "wa"
[portfolios.p]
limit = 250
[lanes.wa]
provider = "whatsapp"
rate = 80
portfolio = "p"
[lanes.wa.whatsapp]
phone_number_id = "1065"
token_env = "PW"
app_secret_env = "URL"
verify_token_env = "PW"
[webhooks]
port = 8080
"""


def changed_over_http(old: str, new: str, **env: str) -> Changes:
    text = WA.replace(old, new, 1)
    assert text != WA or env
    return changes(config_of(WA), config_of(text, **env))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rate = 80", "rate = 20", ["lanes.wa.rate: 80.0 → 20.0", "lanes.wa.burst: 4.0 → 1.0"]),
        ("rate = 80", "rate = 80\nconcurrency = 4", ["lanes.wa.concurrency: 16 → 4"]),
        ("rate = 80", "rate = 80\nquality = { red = 0 }", ["otp: 0.1 → 0.0", "transactional: 0.1 → 0.0"]),
        ("rate = 80", "rate = 80\nquality = { yellow = { bulk = 0.1 } }", ["lanes.wa.quality.yellow.bulk: 0.5 → 0.1"]),
        ("rate = 80", "rate = 80\npair = { every_s = 12 }", ["lanes.wa.pair.every_s: 6 → 12.0"]),
        ("rate = 80", "rate = 80\npair = { burst = 1 }", ["lanes.wa.pair.burst: 45 → 1"]),
        ("rate = 80", 'rate = 80\ntemplates = "next"', ["lanes.wa.templates: hold → next"]),
        ("rate = 80", "rate = 80\npoll_s = 10", ["lanes.wa.poll_s: 60 → 10.0"]),
        ("rate = 80", "rate = 80\nallow_collections = true", ["lanes.wa.allow_collections: False → True"]),
        ("rate = 80", "rate = 80\ncaps = { tenant = 5 }", ["lanes.wa.caps.tenant.*: not set → 5.0"]),
        ("limit = 250", "limit = 2000", ["portfolios.p.limit: 250 → 2000"]),
        ("limit = 250", 'limit = "unlimited"', ["portfolios.p.limit: 250 → unlimited"]),
        ("limit = 250", "reserve = { otp = 0.1 }", ["portfolios.p.reserve.otp: not set → 0.1"]),
        ("[portfolios.p]", "[portfolios.q]\n[portfolios.p]", ["portfolios.q: not set → set"]),
    ],
)
def test_policies_over_http_change_at_once(old: str, new: str, said: list[str]) -> None:
    """Rates, requests at a time, what quality, pairs, templates and portfolios ask for."""
    found = changed_over_http(old, new)
    assert found.refused == ()
    assert [str(change).rpartition("red.")[2] for change in found.live] == said


@pytest.mark.parametrize(
    ("old", "new", "path", "remedy"),
    [
        ("rate = 80", "rate = 80\nslots = 2", "lanes.wa.slots", "recado topics"),
        ("rate = 80", "rate = 80\ntimeout_s = 9", "lanes.wa.timeout_s", "restart"),
        ("rate = 80", "rate = 80\nallow_private = true", "lanes.wa.allow_private", "restart"),
        ("1065", "1066", "lanes.wa.whatsapp.phone_number_id", "restart"),
        ('token_env = "PW"', 'token_env = "URL"', "lanes.wa.whatsapp.token", "restart"),
        ('"p"', '"wa"', "lanes.wa.portfolio", "restart"),
        ("8080", "8081", "webhooks.port", "restart"),
    ],
)
def test_what_requests_are_made_with_needs_a_restart(old: str, new: str, path: str, remedy: str) -> None:
    """At its path in the file, whichever struct of ours it is in."""
    refused = changed_over_http(old, new).refused
    assert [problem.path for problem in refused] == [path]
    assert remedy in refused[0].remedy


def test_secrets_of_a_provider_are_not_shown() -> None:
    """Only that they have changed."""
    found = changed_over_http("", "", PW="n3w")
    assert [problem.path for problem in found.refused] == ["lanes.wa.whatsapp.token", "lanes.wa.whatsapp.verify_token"]
    assert "n3w" not in str(found)
    assert "s3cret" not in str(found)


def test_a_lane_that_becomes_another_provider_s_is_one_change() -> None:
    """Of its provider: nothing else can be compared."""
    other = '[lanes.wa]\nprovider = "sinch"\nrate = 1\n[lanes.wa.sinch]\nservice_plan_id = "p"\napi_token_env = "PW"\n'
    start, end = WA.index("[lanes.wa]"), WA.index("[webhooks]")
    for text in (other, LANE.replace("lanes.claro", "lanes.wa")):
        new = (WA[:start] + text + WA[end:]).replace('"whatsapp"', '"sms"', 1)
        refused = changes(config_of(WA), config_of(new)).refused
        assert [problem.path for problem in refused] == ["lanes.wa.provider"]


def test_a_vendor_s_file_that_changed_is_noticed(tmp_path: Path) -> None:
    """It is a part of the configuration, although it stands elsewhere."""
    vendor = '[request]\nurl = "https://v.example/"\n[reply]\nsuccess = [{ http = "200" }]\nid = "id"\notherwise = "rejected"\n'
    start, end = WA.index("[lanes.wa]"), WA.index("[webhooks]")
    lane = '[lanes.wa]\nprovider = "generic"\nrate = 1\ngeneric = { file = "v.toml" }\n'
    text = (WA[:start] + lane + WA[end:]).replace('"whatsapp"', '"sms"', 1)
    (tmp_path / "v.toml").write_text(vendor, encoding="utf-8")
    old = loads(text, ENV, tmp_path)
    assert not changes(old, loads(text, ENV, tmp_path))
    (tmp_path / "v.toml").write_text(vendor.replace("v.example/", "v.example/2"), encoding="utf-8")
    refused = changes(old, loads(text, ENV, tmp_path)).refused
    assert [problem.path for problem in refused] == ["lanes.wa.generic.vendor.request.url"]
