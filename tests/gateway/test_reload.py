"""What a changed file means: applied at once, or refused as a whole with every reason."""

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
        ("[store]", "[delay]\nrungs_s = [5]\n[store]", "delay.rungs_s", "restart"),
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
