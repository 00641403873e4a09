"""Every way of being somebody at AWS that can be had without AWS: each signs in as the payer and enters the accounts."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import moments
import pytest
from running_exporter import MakeAws, MakeExporter, collectors, organization
from waiting import wait_for

from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

ROLE = "aws-spend-exporter-member"
Answer = Callable[[str, str, dict[str, str]], tuple[int, Any]]


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    return make_aws(accounts=3, services=2, days=10)


@pytest.fixture
def keys(aws: SimulatedAws) -> dict[str, Any]:
    """Temporary keys of the payer, as a task, an instance or a user has them."""
    return temporary_keys(aws)


@pytest.fixture
def more_keys(aws: SimulatedAws) -> dict[str, Any]:
    """Those that come after them."""
    return temporary_keys(aws)


def temporary_keys(aws: SimulatedAws) -> dict[str, Any]:
    client = boto3.session.Session().client("sts", endpoint_url=aws.url)
    answer = client.assume_role(RoleArn=f"arn:aws:iam::{aws.payer_id}:role/{ROLE}", RoleSessionName="task")
    client.close()
    found: dict[str, Any] = answer["Credentials"]
    return found


@pytest.fixture
def stand_in() -> Iterator[Callable[[Answer], str]]:
    """Starts an HTTP server for what stands beside AWS's API: answers by method, path and headers."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, body = answer(self.command, self.path, headers)
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_PUT = do_GET  # noqa: N815 # http.server's name

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check(aws: SimulatedAws, folder: Path, **environment: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """`check --aws` with nothing in the environment but this; the findings by subject."""
    (folder / "config.yaml").write_text(
        json.dumps({"accounts": {"discovery": "organizations"}, "regions": ["us-east-1"]})
    )
    answer = subprocess.run(
        [sys.executable, "-m", "exporter", "check", "--aws", "--json"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"], "HOME": str(folder), **moments.python_path(Path(__file__).parents[2]),
            "AWS_ENDPOINT_URL": aws.url, "AWS_REGION": "us-east-1", "CROSS_ACCOUNT_ROLE_NAME": ROLE, **environment,
        },
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode in (0, 1), answer.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(answer.stdout):
        found.setdefault(row["subject"], []).append(row)
    return answer.returncode, found


def assert_signed_in(aws: SimulatedAws, outcome: tuple[int, dict[str, list[dict[str, Any]]]]) -> None:
    code, found = outcome
    assert code == 0, found
    assert [row["account_id"] for row in found["credentials"]] == [aws.payer_id]
    assert sorted(row["account_id"] for row in found["role"]) == sorted(
        account.id for account in aws.accounts
    )


def metadata(keys: dict[str, Any]) -> dict[str, str]:
    return {
        "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": keys["AccessKeyId"], "SecretAccessKey": keys["SecretAccessKey"],
        "Token": keys["SessionToken"], "Expiration": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip


def test_the_role_of_a_task(
    aws: SimulatedAws, keys: dict[str, Any], stand_in: Callable[[Answer], str], tmp_path: Path
) -> None:
    """By the container credentials endpoint, with its authorization token from a file."""
    (tmp_path / "token").write_text("planted-token")
    asked: list[tuple[str, str | None]] = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        asked.append((path, headers.get("authorization")))
        return 200, metadata(keys)

    url = stand_in(answer)
    outcome = check(
        aws, tmp_path,
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{url}/v2/credentials/task",
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(tmp_path / "token"),
    )  # fmt: skip
    assert_signed_in(aws, outcome)
    assert asked == [("/v2/credentials/task", "planted-token")]


def test_a_running_task_renews_its_role(
    make_exporter: MakeExporter,
    aws: SimulatedAws,
    keys: dict[str, Any],
    more_keys: dict[str, Any],
    stand_in: Callable[[Answer], str],
) -> None:
    """With the authorization token from the environment; the first keys are about to end."""
    tokens: list[str | None] = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        tokens.append(headers.get("authorization"))
        first = len(tokens) == 1
        ends = datetime.now(UTC) + timedelta(minutes=5 if first else 360)
        given = metadata(keys if first else more_keys)
        return 200, given | {"Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}

    environment = {
        "AWS_ENDPOINT_URL": aws.url, "AWS_REGION": "us-east-1",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{stand_in(answer)}/v2/credentials/task",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "planted-token",
    }  # fmt: skip
    config = organization(collectors=collectors(cost={"history_months": 1}, ec2_instances={}))
    exporter = make_exporter(environment, config).start()
    wait_for("it is ready", exporter.is_ready)
    assert exporter.failures("cost") == exporter.failures("ec2_instances") == {}
    assert exporter.samples()["aws_cost_yesterday_usd"]
    assert tokens == ["planted-token"] * 2
    asked_as = {entry.access_key for entry in aws.requests.entries(service="ce")}
    assert asked_as == {more_keys["AccessKeyId"]}
    assert "planted-token" not in exporter.log()
    assert "planted-token" not in exporter.get("/api/v1/status").text
    exporter.stop()


@pytest.mark.fault("the credentials endpoint of a task refuses", "no_credentials in the findings")
def test_a_task_that_is_refused_its_role_says_so(
    aws: SimulatedAws, stand_in: Callable[[Answer], str], tmp_path: Path
) -> None:
    refusal = {"code": "AccessDenied", "message": "no such task"}
    code, found = check(
        aws, tmp_path,
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{stand_in(lambda *_: (403, refusal))}/v2/credentials/task",
        AWS_CONTAINER_AUTHORIZATION_TOKEN="planted-token",
    )  # fmt: skip
    (finding,) = found["credentials and discovery"]
    assert (code, finding["error"]) == (1, "no_credentials")
    assert "no such task" in json.dumps(finding)
    assert "planted-token" not in json.dumps(finding)


def test_the_profile_of_an_instance(
    aws: SimulatedAws, keys: dict[str, Any], stand_in: Callable[[Answer], str], tmp_path: Path
) -> None:
    """By the instance metadata service, version 2: nothing without a session token."""
    role = "/latest/meta-data/iam/security-credentials/"

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        if (method, path) == ("PUT", "/latest/api/token"):
            return 200, "planted-session"
        if headers.get("x-aws-ec2-metadata-token") != "planted-session":
            return 401, ""
        return {role: (200, "exporter"), f"{role}exporter": (200, metadata(keys))}.get(path, (404, ""))

    assert_signed_in(aws, check(aws, tmp_path, AWS_EC2_METADATA_SERVICE_ENDPOINT=stand_in(answer)))


def test_web_identity(aws: SimulatedAws, tmp_path: Path) -> None:
    """AWS_ROLE_ARN then is the role of the token, and is not assumed a second time."""
    aws.identity.web_identity_tokens.add("planted.web.token")
    (tmp_path / "token").write_text("planted.web.token")
    arn = f"arn:aws:iam::{aws.payer_id}:role/aws-spend-exporter"
    outcome = check(aws, tmp_path, AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "token"), AWS_ROLE_ARN=arn)
    assert_signed_in(aws, outcome)
    assert aws.requests.count("sts", "AssumeRoleWithWebIdentity") == 1
    assumed = [(entry.params or {}).get("RoleArn") for entry in aws.requests.entries(operation="AssumeRole")]
    assert arn not in assumed


def sso_profile(folder: Path, expires: datetime) -> None:
    (folder / ".aws" / "sso" / "cache").mkdir(parents=True)
    (folder / ".aws" / "config").write_text(
        "[profile finance]\nsso_session = company\nsso_account_id = 111122223333\nsso_role_name = Billing\n"
        "[sso-session company]\nsso_region = us-east-1\nsso_start_url = https://company.example/start\n"
    )
    name = hashlib.sha1(b"company", usedforsecurity=False).hexdigest()
    token = {"accessToken": "planted-sso-token", "expiresAt": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
    (folder / ".aws" / "sso" / "cache" / f"{name}.json").write_text(json.dumps(token))


def test_a_profile_of_identity_center(
    aws: SimulatedAws, keys: dict[str, Any], stand_in: Callable[[Answer], str], tmp_path: Path
) -> None:
    """With the token that `aws sso login` has left in its cache."""
    sso_profile(tmp_path, datetime.now(UTC) + timedelta(hours=4))

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        if headers.get("x-amz-sso_bearer_token") != "planted-sso-token":
            return 401, {}
        assert path == "/federation/credentials?role_name=Billing&account_id=111122223333"
        expires = int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)
        given = {"accessKeyId": keys["AccessKeyId"], "secretAccessKey": keys["SecretAccessKey"]}
        return 200, {
            "roleCredentials": {**given, "sessionToken": keys["SessionToken"], "expiration": expires}
        }

    assert_signed_in(aws, check(aws, tmp_path, AWS_PROFILE="finance", AWS_ENDPOINT_URL_SSO=stand_in(answer)))


@pytest.mark.fault(
    "the session of Identity Center is over", "expired_credentials with the command that signs in"
)
def test_a_session_of_identity_center_that_is_over_says_what_to_do(aws: SimulatedAws, tmp_path: Path) -> None:
    sso_profile(tmp_path, datetime.now(UTC) - timedelta(minutes=1))
    code, found = check(aws, tmp_path, AWS_PROFILE="finance")
    (finding,) = found["credentials and discovery"]
    assert (code, finding["error"]) == (1, "expired_credentials")
    assert finding["advice"] == "sign in again, e.g. aws sso login"


def test_the_payers_role_from_another_account(make_aws: MakeAws, tmp_path: Path) -> None:
    """AWS_ROLE_ARN and EXTERNAL_ID, from a `.env` beside config.yaml: the payer's role, and from it the members'."""
    aws = make_aws(accounts=3, services=2, days=10, external_id="secret-handshake")
    arn = f"arn:aws:iam::{aws.payer_id}:role/{ROLE}"
    (tmp_path / ".env").write_text(
        f"AWS_ROLE_ARN={arn}\nEXTERNAL_ID=secret-handshake\nAWS_REGION=eu-west-1\n"
    )
    own = {name: value for name, value in aws.environment().items() if "KEY" in name}
    assert_signed_in(aws, check(aws, tmp_path, **own, AWS_EC2_METADATA_DISABLED="true"))
    assumed = {(entry.params or {}).get("RoleArn") for entry in aws.requests.entries(operation="AssumeRole")}
    assert arn in assumed
    assert len(assumed) == len(aws.accounts)
    assert {entry.region for entry in aws.requests.entries(operation="AssumeRole")} == {"us-east-1"}, (
        "set beats .env"
    )
