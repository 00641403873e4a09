"""What reads `/metrics` reads all of it: Prometheus, curl, a browser, and who accepts no gzip."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import prometheus_client
import pytest
import requests
from prometheus_client import CollectorRegistry
from waiting import wait_for

from demo.processes import choose_ports
from demo.stack import find_program
from exporter.app.answers import AnswerSource
from exporter.app.endpoints import Probes, create_app
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.core.metric import Family
from exporter.web.server import Server

pytestmark = pytest.mark.stack

HOUR = timedelta(hours=1)
FAMILIES = [
    Family(
        f"aws_test_{number}_usd", f'Family "{number}" with a \\ and\nä line.', ("account_id", "resource_id")
    )
    for number in range(12)
]
LAST = "aws_test_z_of_the_process"


@dataclass
class Served:
    url: str
    store: Store

    def publish(self, unit: int, value: float) -> None:
        now = datetime.now(UTC)
        samples = tuple(
            family(value + row, account_id=str(unit), resource_id=f"vol-{unit:04}{row:04}")
            for family in FAMILIES
            for row in range(40)
        )
        self.store.publish(
            Key("test", str(unit)),
            CollectionResult(samples=samples, attempted_at=now, succeeded_at=now),
            account=f"account-{unit}",
            interval=HOUR,
        )

    def raw(self, *accept_encoding: str) -> tuple[bytes, str | None]:
        """The body as it is sent, and its encoding."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        connection.putrequest("GET", "/metrics", skip_accept_encoding=True)
        for value in accept_encoding:
            connection.putheader("Accept-Encoding", value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200
        assert response.headers["Vary"] == "Accept-Encoding"
        connection.close()
        return body, response.headers["Content-Encoding"]

    def plain(self) -> str:
        return self.raw()[0].decode()


@pytest.fixture
def served() -> Iterator[Served]:
    """Half a megabyte in many blocks, of which some have changed, and one account that fails."""
    store, registry = Store(lambda: datetime.now(UTC)), CollectorRegistry()
    prometheus_client.Gauge(LAST, "It stands at the end.", registry=registry).set(7)

    def nothing(*_: Any) -> Any:
        raise NotImplementedError

    answers = AnswerSource(nothing, nothing)
    probes = Probes(
        unready=list,
        problems=list,
        denied_regions=list,
        reload=nothing,
        refresh=nothing,
        status=dict,
        answers=answers,
    )
    server = Server(create_app(store, registry, probes), "127.0.0.1", 0)
    served = Served(f"http://127.0.0.1:{server.start()}", store)
    for unit in range(20):
        served.publish(unit, 1)
    served.raw("gzip")
    for unit in range(0, 20, 7):
        served.publish(unit, 1.5)
    now = datetime.now(UTC)
    store.publish(
        Key("test", "19"),
        CollectionResult(samples=(), attempted_at=now, succeeded_at=None, error="throttled"),
        account="account-19",
        interval=HOUR,
    )
    yield served
    server.stop()


def counts(text: str) -> Counter[str]:
    """Series by family."""
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    return Counter(re.split(r"[{ ]", row, maxsplit=1)[0] for row in rows)


def test_the_body_is_one_gzip_member(served: Served) -> None:
    body, encoding = served.raw("gzip")
    reader = zlib.decompressobj(31)
    text = reader.decompress(body)
    assert (encoding, reader.eof, reader.unused_data) == ("gzip", True, b"")
    assert text.decode() == served.plain()
    assert text.endswith(f"\n{LAST} 7.0\n".encode())
    assert len(text) > 400_000
    assert counts(text.decode())["aws_test_3_usd"] == 800


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ((), None),
        (("gzip;q=0, identity",), None),
        (("gzip;q=0.2, identity;q=0.7",), None),
        (("deflate", "gzip"), "gzip"),
        (("*",), "gzip"),
    ],
)
def test_the_encoding_is_one_that_is_accepted(
    served: Served, accepted: tuple[str, ...], encoding: str | None
) -> None:
    body, found = served.raw(*accepted)
    assert found == encoding
    assert (body if encoding is None else zlib.decompress(body, 31)).decode() == served.plain()


def test_curl_reads_all_lines(served: Served) -> None:
    curl = shutil.which("curl") or find_program("curl")
    if curl is None:
        pytest.skip("curl is not on the PATH")
    done = subprocess.run(
        [curl, "--silent", "--show-error", "--noproxy", "*", "--compressed", f"{served.url}/metrics"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == served.plain()


def test_prometheus_reads_every_family(served: Served, tmp_path: Path) -> None:
    program = find_program("prometheus")
    if program is None:
        pytest.skip("prometheus is not on the PATH")
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "scrape_configs:\n- job_name: test\n  scrape_interval: 1s\n"
        f"  static_configs: [{{targets: ['{urlsplit(served.url).netloc}']}}]\n"
    )
    port = choose_ports({"prometheus": 0})["prometheus"]
    url = f"http://127.0.0.1:{port}/api/v1/query"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:

        def found() -> dict[str, int]:
            try:
                answer = requests.get(
                    url,
                    params={"query": 'count by (__name__) ({job="test", __name__=~"aws_.+"})'},
                    timeout=30,
                ).json()
            except (requests.ConnectionError, requests.JSONDecodeError):  # it is starting
                return {}
            series = answer.get("data", {}).get("result", [])
            return {each["metric"]["__name__"]: int(each["value"][1]) for each in series}

        assert wait_for("a scrape is stored", found) == counts(served.plain())
        served.publish(3, 4.5)

        def has_new_value() -> bool:
            query = 'sum(aws_test_7_usd{account_id="3"})'
            result = requests.get(url, params={"query": query}, timeout=30).json()["data"]["result"]
            return bool(result) and float(result[0]["value"][1]) == sum(4.5 + row for row in range(40))

        wait_for("the change is stored", has_new_value)
    finally:
        process.kill()
        process.wait()


def test_a_browser_shows_the_last_line(served: Served, tmp_path: Path) -> None:
    chromium = find_program("chromium", "google-chrome")
    if chromium is None:
        pytest.skip("chromium is not on the PATH; `make browser` sees to it")
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",  # it needs privileges that containers lack, and only our own page is opened
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            f"--user-data-dir={tmp_path}",
            "--dump-dom",
            f"{served.url}/metrics",
        ],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    text = done.stdout.decode()
    for sign, escaped in (("<", "&lt;"), (">", "&gt;"), ("&", "&amp;")):
        text = text.replace(escaped, sign)
    assert served.plain() in text
