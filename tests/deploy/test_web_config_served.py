"""TLS, client certificates and basic authentication of both servers, with real clients."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests
import trustme
import yaml
from deploy_files import ROOT
from served import command, configuration, environment, serving
from waiting import wait_for

from demo.processes import choose_ports

pytestmark = pytest.mark.stack

PASSWORD = "planted-web-password"
PATHS = {
    "run": ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status", "/docs", "/openapi.json", "/none"],
    "relay": ["/metrics", "/-/healthy", "/-/ready", "/openapi.json", "/none"],
}
SECTION = {"run": "server", "relay": "relay"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and certificates of the server, of a client, and of a stranger's authority."""
    folder = tmp_path_factory.mktemp("web")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, issued in {
        "server": authority.issue_cert("localhost", "127.0.0.1"),
        "client": authority.issue_cert("prometheus"),
        "stranger": trustme.CA().issue_cert("prometheus"),
    }.items():
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    tls = {"cert_file": "server.pem", "key_file": "server.key"}
    verified = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
    headers = {"headers": {"X-Content-Type-Options": "nosniff"}}
    for name, content in {
        "basic": {"basic_auth_users": {"prometheus": hashed}, "http_server_config": headers},
        "tls": {"tls_server_config": tls, "basic_auth_users": {"prometheus": hashed}},
        "mtls": {"tls_server_config": {**tls, **verified}, "http_server_config": headers},
    }.items():
        (folder / f"{name}.yml").write_text(yaml.safe_dump(content))
    return folder


def healthcheck(url: str) -> int:
    """The exit code of the image's health check, which has neither password nor certificate."""
    command = [sys.executable, str(ROOT / "deploy" / "healthcheck.py"), url]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.parametrize("name", ["run", "relay"])
def test_without_the_password_there_is_401_and_no_data_on_every_path(
    name: str, folder: Path, tmp_path: Path
) -> None:
    config = configuration(tmp_path, **{SECTION[name]: {"web_config_file": str(folder / "basic.yml")}})
    with serving(name, config) as served:
        url = f"http://127.0.0.1:{served.port}"
        session = requests.Session()
        for auth in (None, ("prometheus", "wrong"), ("nobody", PASSWORD)):
            for method in ("GET", "POST", "HEAD", "OPTIONS"):
                for path in [*PATHS[name], "/alerts", "/-/reload"]:
                    answer = session.request(method, url + path, auth=auth, timeout=60)
                    assert (answer.status_code, answer.text) == (
                        401,
                        "" if method == "HEAD" else "Unauthorized\n",
                    )
                    assert answer.headers["WWW-Authenticate"] == "Basic"
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
        known = {
            path: session.get(url + path, auth=("prometheus", PASSWORD), timeout=60) for path in PATHS[name]
        }
        assert "aws_spend_exporter" in known["/metrics"].text
        assert {path for path, answer in known.items() if answer.status_code == 401} == set()
        assert known["/metrics"].headers["X-Content-Type-Options"] == "nosniff"
    log = served.log.read_text()
    assert PASSWORD not in log
    assert base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode() not in log


@pytest.mark.parametrize("name", ["run", "relay"])
def test_only_who_brings_a_certificate_of_the_authority_is_answered(
    name: str, folder: Path, tmp_path: Path
) -> None:
    config = configuration(tmp_path, **{SECTION[name]: {"web_config_file": str(folder / "mtls.yml")}})
    with serving(name, config) as served:
        url = f"https://127.0.0.1:{served.port}/metrics"
        ca = str(folder / "ca.pem")
        for pair in (None, ("stranger.pem", "stranger.key")):
            cert = (str(folder / pair[0]), str(folder / pair[1])) if pair else None
            with pytest.raises(requests.ConnectionError):
                requests.get(url, verify=ca, cert=cert, timeout=60)
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url, timeout=60)  # an authority that the system does not know
        with pytest.raises(requests.ConnectionError):
            requests.get(url.replace("https", "http"), timeout=60)
        for scheme in ("https", "http"):
            assert healthcheck(f"{scheme}://127.0.0.1:{served.port}/-/healthy") == 0
        own = (str(folder / "client.pem"), str(folder / "client.key"))
        answer = requests.get(url, verify=ca, cert=own, timeout=60)
        assert answer.status_code == 200
        assert "aws_spend_exporter" in answer.text


def test_a_renewed_certificate_is_served_without_a_restart(folder: Path, tmp_path: Path) -> None:
    for name in ("server.pem", "server.key", "tls.yml"):
        shutil.copy(folder / name, tmp_path / name)
    renewed = trustme.CA()
    renewed.cert_pem.write_to_path(tmp_path / "new-ca.pem")
    config = configuration(tmp_path, server={"web_config_file": str(tmp_path / "tls.yml")})
    with serving("run", config) as served:
        url = f"https://127.0.0.1:{served.port}/-/healthy"
        assert requests.get(url, verify=str(folder / "ca.pem"), timeout=60).status_code == 401
        assert healthcheck(url) == 0
        assert healthcheck(url.replace("https", "http")) == 0, "the image asks by http"
        issued = renewed.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
        issued.private_key_pem.write_to_path(tmp_path / "server.key")
        deadline = time.monotonic() + 90
        while True:
            try:
                assert requests.get(url, verify=str(tmp_path / "new-ca.pem"), timeout=60).status_code == 401
                break
            except requests.exceptions.SSLError:
                assert time.monotonic() < deadline, served.log.read_text()
                time.sleep(0.2)


@pytest.mark.parametrize("name", ["run", "relay"])
@pytest.mark.fault("a bad web configuration file at the start", "one line and exit code 2")
def test_a_bad_file_is_one_message_and_exit_code_2(name: str, tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {prometheus: planted-plain-password}")
    config = configuration(tmp_path, **{SECTION[name]: {"web_config_file": str(web)}})
    answer = subprocess.run(
        command(name, config),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.count("\n") == 1
    assert (
        f"{SECTION[name]}.web_config_file: {web}: basic_auth_users: expected a bcrypt hash" in answer.stderr
    )
    assert "planted" not in answer.stderr


def test_prometheus_scrapes_with_password_and_certificate(folder: Path, tmp_path: Path) -> None:
    """Two exporters, two jobs that may and one that gives a wrong password."""
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not on the PATH")
    for name in ("tls", "mtls"):
        (tmp_path / name).mkdir()
    configs = {
        name: configuration(tmp_path / name, server={"web_config_file": str(folder / f"{name}.yml")})
        for name in ("tls", "mtls")
    }
    with serving("run", configs["tls"]) as basic, serving("run", configs["mtls"]) as mutual:
        authority = {"ca_file": str(folder / "ca.pem")}
        own = {"cert_file": str(folder / "client.pem"), "key_file": str(folder / "client.key")}
        jobs = [
            (
                "basic",
                basic.port,
                {"basic_auth": {"username": "prometheus", "password": PASSWORD}},
                authority,
            ),
            ("wrong", basic.port, {"basic_auth": {"username": "prometheus", "password": "x"}}, authority),
            ("mutual", mutual.port, {}, {**authority, **own}),
        ]
        (tmp_path / "prometheus.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s"},
                    "scrape_configs": [
                        {"job_name": job, "scheme": "https", "tls_config": tls, **auth, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                        for job, port, auth, tls in jobs
                    ],
                }
            )
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (tmp_path / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [prometheus, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{port}"],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wanted = {"basic": "1", "mutual": "1", "wrong": "0"}
            deadline = time.monotonic() + 40
            seen: dict[str, str] = {}
            while seen != wanted:
                assert time.monotonic() < deadline, (seen, (tmp_path / "prometheus.log").read_text())
                time.sleep(0.3)
                try:
                    result = requests.get(
                        f"http://127.0.0.1:{port}/api/v1/query", params={"query": "up"}, timeout=60
                    ).json()["data"]["result"]
                except (requests.ConnectionError, KeyError, ValueError):
                    continue
                seen = {row["metric"]["job"]: row["value"][1] for row in result}
        finally:
            process.terminate()
            process.wait(20)


def typed(config: Path, *arguments: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """A command beside the exporter of the same configuration."""
    done = subprocess.run(
        command(arguments[0], config) + list(arguments[1:]),
        env=environment(config.parent, **env),
        cwd=config.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return done


def own_configuration(folder: Path, web: Path, **client: Any) -> Path:
    """Of an exporter at a port that its commands know, too."""
    port = choose_ports({"exporter": 0})["exporter"]
    return configuration(folder, server={"port": port, "web_config_file": str(web)}, client=client)


AUTH = {"basic_auth": {"username": "prometheus", "password_env": "EXPORTER_PASSWORD"}}


@pytest.mark.parametrize("web", ["basic", "tls", "mtls"])
def test_commands_ask_an_exporter_whose_web_configuration_they_know(
    web: str, folder: Path, tmp_path: Path
) -> None:
    """Its certificate is known from its file: no authority has to be named."""
    client: dict[str, Any] = (
        {"tls": {"cert_file": str(folder / "client.pem"), "key_file": str(folder / "client.key")}}
        if web == "mtls"
        else AUTH
    )
    config = own_configuration(tmp_path, folder / f"{web}.yml", **client)
    with serving("run", config) as served:
        url = f"{'http' if web == 'basic' else 'https'}://127.0.0.1:{served.port}"
        assert (
            f"from {url}, AWS has not been read yet"
            in typed(config, "accounts", EXPORTER_PASSWORD=PASSWORD).stderr
        )
        done = typed(config, "doctor", "--json", code=1, EXPORTER_PASSWORD=PASSWORD)
        assert [f["result"] for f in json.loads(done.stdout) if f["subject"] == "exporter"][:1] == [
            f"answers at {url}"
        ]


@pytest.mark.parametrize(
    ("web", "client", "password", "reason"),
    [
        ("tls", {}, "", "asks for a password: set client.basic_auth"),
        ("tls", AUTH, "wrong", "refuses what client.basic_auth presents"),
        ("tls", AUTH, "", "environment variable EXPORTER_PASSWORD is empty or not set"),
        ("mtls", {}, "", "it wants a client certificate: set client.tls.cert_file"),
        ("tls", {"tls": {"ca_file": "stranger.pem"}}, "", "its certificate is not trusted: set client.tls.ca_file"),
        ("tls", {"tls": {"ca_file": "absent.pem"}}, "", "cannot be asked: client.tls: "),
    ],
    ids=["no password", "wrong password", "empty password", "no certificate", "unknown authority", "no such file"],
)  # fmt: skip
def test_commands_say_why_a_running_exporter_does_not_let_them_in(
    web: str, client: dict[str, Any], password: str, reason: str, folder: Path, tmp_path: Path
) -> None:
    """The ledger answers instead, and it is said; who named an exporter gets no other answer."""
    if "tls" in client:
        client = {"tls": {"ca_file": str(folder / client["tls"]["ca_file"])}}
    config = own_configuration(tmp_path, folder / f"{web}.yml", **client)
    with serving("run", config) as served:
        done = typed(config, "accounts", "--json", EXPORTER_PASSWORD=password)
        assert json.loads(done.stdout)["rows"] == []
        assert done.stderr.count("Warning: ") == 1
        assert reason in done.stderr
        assert str(tmp_path / "data" / "ledger.sqlite") in done.stderr
        found = json.loads(typed(config, "doctor", "--json", code=1, EXPORTER_PASSWORD=password).stdout)
        assert [f["error"] for f in found if f["subject"] == "exporter"] == ["refused"]
        named = typed(
            config, "accounts", "--url", f"https://x:{PASSWORD}@127.0.0.1:{served.port}", code=1,
            EXPORTER_PASSWORD=password,
        )  # fmt: skip
        assert f"Error: https://127.0.0.1:{served.port}" in named.stderr


def test_an_exporter_elsewhere_is_asked_by_address_authority_and_password(
    folder: Path, tmp_path: Path
) -> None:
    """From the environment alone: no password stands in a list of processes."""
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    there = configuration(tmp_path / "there", server={"web_config_file": str(folder / "tls.yml")})
    here = configuration(tmp_path / "here")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    with serving("run", there) as served:
        url = f"https://localhost:{served.port}"
        variables = {
            "AWS_SPEND_EXPORTER_CLIENT__URL": url,
            "AWS_SPEND_EXPORTER_CLIENT__TLS__CA_FILE": str(folder / "ca.pem"),
            "AWS_SPEND_EXPORTER_CLIENT__BASIC_AUTH": f"{{username: prometheus, password_file: {tmp_path / 'password'}}}",
        }
        assert f"from {url}, AWS" in typed(here, "accounts", **variables).stderr
    done = typed(here, "accounts", code=1, **variables)
    assert f"Error: nothing answers at {url}" in done.stderr


@pytest.mark.parametrize("web", ["tls", "mtls"])
def test_the_relay_reads_an_exporter_that_wants_a_password_or_a_certificate(
    web: str, folder: Path, tmp_path: Path
) -> None:
    """Under an authority that the system does not know; without what is asked for, the log says what to set."""
    (tmp_path / "exporter").mkdir()
    config = configuration(tmp_path / "exporter", server={"web_config_file": str(folder / f"{web}.yml")})
    with serving("run", config) as served:
        own = {"cert_file": str(folder / "client.pem"), "key_file": str(folder / "client.key")}
        authority = {"ca_file": str(folder / "ca.pem")}
        right = {"tls": {**authority, **own}} if web == "mtls" else {"tls": authority, **AUTH}
        missing = (
            "set relay.exporter.tls.cert_file"
            if web == "mtls"
            else "asks for a password: set relay.exporter.basic_auth"
        )
        for number, (client, said) in enumerate(
            [
                (right, "the exporter has not read"),
                ({"tls": authority}, missing),
                ({"tls": own}, "its certificate is not trusted: set relay.exporter.tls.ca_file"),
            ]
        ):
            place = tmp_path / str(number)
            place.mkdir()
            with ticked(place, {"url": f"https://127.0.0.1:{served.port}", **client}, said) as answer:
                assert ("the relay's log says more" in answer) == (client is not right)
                assert "127.0.0.1" not in answer


@contextmanager
def ticked(folder: Path, exporter: dict[str, Any], said: str) -> Iterator[str]:
    """The message that a tick on the organization is answered with, by a relay whose log comes to say `said`."""
    answers: list[str] = []

    class Channel(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["message"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Channel) as channel:
        threading.Thread(target=channel.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{channel.server_address[1]}"
        integration = {"enabled": True, "return_hosts": [host]}
        config = configuration(folder, relay={"exporter": exporter, "integration": integration})
        env = environment(folder, EXPORTER_PASSWORD=PASSWORD)
        with serving("relay", config, env) as relay:
            tick = {"return_url": f"http://{host}/x", "settings": [{"label": "threshold", "default": 100}]}
            taken = requests.post(f"http://127.0.0.1:{relay.port}/tick", json=tick, timeout=30)
            assert taken.status_code == 202
            wait_for("the tick is answered", lambda: answers)
            assert said in relay.log.read_text() + answers[0]
            assert PASSWORD not in relay.log.read_text()
            yield answers[0]
        channel.shutdown()
