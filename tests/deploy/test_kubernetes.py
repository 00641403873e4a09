"""The Kubernetes base: valid for the API server's schemas, confined, one of each, and with the rules of prometheus/rules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from deploy_files import ROOT, stages

from exporter.config.read import ConfigError, load_config
from exporter.generated.reference import prometheus_rule

BASE = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.29", "1.34")
CUSTOM = {"ServiceMonitor", "PrometheusRule"}


def documents() -> list[dict[str, Any]]:
    """What the files of the base hold."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return [
        d for file in kustomization["resources"] for d in yaml.safe_load_all((BASE / file).read_text()) if d
    ]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {d["metadata"]["name"]: d for d in documents() if d["kind"] == kind}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", documents(), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_the_api_server_would_accept_it(document: dict[str, Any], version: str) -> None:
    if document["kind"] in CUSTOM:
        assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
        assert document["apiVersion"] == "monitoring.coreos.com/v1"
    else:
        kubernetes_validate.validate(document, version, strict=True)


def test_kustomize_builds_it() -> None:
    """The real one, inside kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on the PATH")
    answer = subprocess.run(
        [kubectl, "kustomize", BASE], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    built = [d for d in yaml.safe_load_all(answer.stdout) if d]
    assert len(built) == len(documents()) + 1  # and the generated ConfigMap
    assert {d["metadata"].get("namespace", d["metadata"]["name"]) for d in built} == {"aws-spend-exporter"}
    (config,) = [d["metadata"]["name"] for d in built if d["kind"] == "ConfigMap"]
    for workload in (d for d in built if d["kind"] == "StatefulSet"):
        pod = workload["spec"]["template"]["spec"]
        assert config in {v.get("configMap", {}).get("name") for v in pod["volumes"]}
        assert [c["image"] for c in pod["containers"]] == ["aws-spend-exporter:0.1.0"]
    for document in built:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


def test_the_rules_are_those_of_prometheus() -> None:
    assert (BASE / "prometheusrule.yaml").read_text() == prometheus_rule(ROOT), "run `make docs`"
    groups = of_kind("PrometheusRule")["aws-spend-exporter"]["spec"]["groups"]
    files = [
        yaml.safe_load(path.read_text())["groups"]
        for path in sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
    ]
    assert groups == [group for file in files for group in file]
    names = [group["name"] for group in groups]
    assert len(set(names)) == len(names), "the operator refuses two groups of one name"


@pytest.mark.stack
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(of_kind("PrometheusRule")["aws-spend-exporter"]["spec"]))
    answer = subprocess.run(
        ["promtool", "check", "rules", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_jobs_are_those_that_the_rules_select_and_their_labels_are_ours() -> None:
    """The operator names a job after its service, and would call that service `service`."""
    scraped = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    jobs = {job["job_name"] for job in scraped if job["job_name"].startswith("aws-spend-exporter")}
    monitor = of_kind("ServiceMonitor")["aws-spend-exporter"]["spec"]
    selected = {
        name
        for name, service in of_kind("Service").items()
        if monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    }
    assert selected == jobs
    (endpoint,) = monitor["endpoints"]
    assert {endpoint["port"]} == {
        port["name"] for s in of_kind("Service").values() for port in s["spec"]["ports"]
    }
    (drop,) = endpoint["relabelings"]
    assert drop["action"] == "labeldrop"
    assert "service" in drop["regex"].split("|")


def test_there_is_one_of_each_and_each_is_confined() -> None:
    assert sorted(of_kind("StatefulSet")) == ["aws-spend-exporter", "aws-spend-exporter-relay"]
    assert not of_kind("Deployment"), "it would start the next before the last has ended"
    user, group = next(line for line in stages()["runtime"] if line.startswith("USER ")).split()[1].split(":")
    for name, workload in of_kind("StatefulSet").items():
        assert workload["spec"]["replicas"] == 1
        pod = workload["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        context = pod["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (
            int(user),
            int(group),
            int(group),
        )
        assert context["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert {"livenessProbe", "readinessProbe", "resources"} <= container.keys()
        (claim,) = workload["spec"]["volumeClaimTemplates"]
        assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
        assert (
            of_kind("Service")[name]["spec"]["selector"].items()
            <= workload["spec"]["template"]["metadata"]["labels"].items()
        )
        assert pod["serviceAccountName"] in of_kind("ServiceAccount")


def test_no_variable_of_a_service_is_taken_for_a_key() -> None:
    """Kubernetes would give each pod AWS_SPEND_EXPORTER_RELAY_SERVICE_HOST and the like, which end the start."""
    with pytest.raises(ConfigError, match="relay_service_host: found an unknown key"):
        load_config(BASE / "config.yaml", {"AWS_SPEND_EXPORTER_RELAY_SERVICE_HOST": "10.0.0.1"})
    for workload in of_kind("StatefulSet").values():
        assert workload["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_configuration_is_understood_and_meets_the_ports() -> None:
    config = load_config(BASE / "config.yaml", {})
    ports = {n: w["spec"]["template"]["spec"]["containers"][0] for n, w in of_kind("StatefulSet").items()}
    assert ports["aws-spend-exporter"]["ports"][0]["containerPort"] == config.server.port
    assert ports["aws-spend-exporter-relay"]["ports"][0]["containerPort"] == config.relay.port
    mounts = {m["mountPath"] for m in ports["aws-spend-exporter-relay"]["volumeMounts"]}
    assert str(Path(str(config.relay.channels["default"].url_file)).parent) in mounts
    # What Alertmanager presents is asked for, from a secret that docs/deploy.md makes for both.
    assert config.relay.auth is not None
    assert config.relay.auth.basic_auth is not None
    assert config.relay.auth.basic_auth.username == "alertmanager"
    assert str(Path(str(config.relay.auth.basic_auth.password_file)).parent) in mounts
    secrets = {
        volume["secret"]["secretName"]
        for volume in of_kind("StatefulSet")["aws-spend-exporter-relay"]["spec"]["template"]["spec"][
            "volumes"
        ]
        if "secret" in volume
    }
    made = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert secrets == {"aws-spend-exporter-telex", "aws-spend-exporter-relay"}
    assert all(f"create secret generic {name}" in made for name in secrets)
    assert str(config.relay.state_dir).startswith("/data/")


def test_the_relay_reaches_the_exporter_that_its_digest_asks() -> None:
    """It is another pod: by the name of a service, through the network policy."""
    asked = urlsplit(load_config(BASE / "config.yaml", {}).relay.exporter.url)
    assert asked.hostname is not None
    service = of_kind("Service")[asked.hostname]
    assert asked.port in [port["port"] for port in service["spec"]["ports"]]
    pods = of_kind("StatefulSet")
    exporter, relay = (
        pods[name]["spec"]["template"]["metadata"]["labels"]
        for name in ("aws-spend-exporter", "aws-spend-exporter-relay")
    )
    policy = of_kind("NetworkPolicy")["aws-spend-exporter"]["spec"]

    def allowed(rules: list[dict[str, Any]], side: str, labels: dict[str, str], port: object) -> bool:
        return any(
            peer.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= labels.items()
            and port in [found["port"] for found in rule["ports"]]
            for rule in rules
            for peer in rule.get(side, [])
        )

    assert allowed(policy["ingress"], "from", relay, "http")
    assert allowed(policy["egress"], "to", exporter, asked.port)
