"""A remote write endpoint on the wire, with a separate decoder, which answers as a test wants it to.

It declines remote write 2.0 as a receiver of 1.0 should, unless a test makes it `take_2` or `ignore_2`.
"""

from __future__ import annotations

import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cramjam

Labels = tuple[tuple[str, str], ...]
Sample = tuple[Labels, int, float]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of protobuf, and the position after it."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at


def message(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message by number, without a schema."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        match tag & 7:
            case 0:
                value, at = varint(data, at)
                yield tag >> 3, value - (1 << 64) if value >= 1 << 63 else value
            case 1:
                yield tag >> 3, struct.unpack("<d", data[at : at + 8])[0]
                at += 8
            case 2:
                length, at = varint(data, at)
                assert at + length <= len(data)
                yield tag >> 3, data[at : at + length]
                at += length
            case other:
                raise AssertionError(f"wire type {other}")


def decode(request: bytes) -> list[Sample]:
    """The samples of a WriteRequest, in its order."""
    samples: list[Sample] = []
    for number, series in message(request):
        assert number == 1
        labels: list[tuple[str, str]] = []
        for part, content in message(series):
            if part == 1:
                pair = dict(message(content))
                assert set(pair) == {1, 2}
                labels.append((pair[1].decode(), pair[2].decode()))
            else:
                assert part == 2
                sample = dict(message(content))
                assert set(sample) == {1, 2}
                samples.append((tuple(labels), sample[2], sample[1]))
    return samples


def decode_2(request: bytes) -> list[Sample]:
    """The samples of a Request of remote write 2.0, in its order."""
    symbols: list[str] = []
    samples: list[Sample] = []
    for number, content in message(request):
        if number == 4:
            symbols.append(content.decode())
            continue
        assert number == 5, "the symbols come first"
        assert symbols[0] == ""
        labels: list[tuple[str, str]] = []
        for part, inner in message(content):
            if part == 1:
                at, references = 0, []
                while at < len(inner):
                    reference, at = varint(inner, at)
                    references.append(symbols[reference])
                labels += zip(references[::2], references[1::2], strict=True)
            else:
                assert part == 2
                sample = dict(message(inner))
                samples.append((tuple(labels), sample.get(2, 0), sample[1]))
    assert len(set(symbols)) == len(symbols)
    return samples


WRITTEN = "X-Prometheus-Remote-Write-Samples-Written"
CONTENT_TYPE_2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"


def series_text(labels: Labels) -> str:
    """As Prometheus names a series."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"


@dataclass
class Request:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    samples: list[Sample] = field(default_factory=list)


Answer = tuple[int, str] | tuple[int, str, dict[str, str]]


class RecordingEndpoint:
    """Keeps the samples of every request that it answers 2xx."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.taken: list[Sample] = []
        self.answer: Callable[[Request], Answer] = lambda request: (204, "")
        self.bad: Callable[[Sample], str | None] | None = None
        """Why a sample is refused: with all of its request by 1.0, alone by 2.0."""
        self.take_2 = False
        self.confirms = True
        """Whether it says by 2.0 how many samples it took."""
        self.ignore_2 = False
        """Whether it finds no sample in a request of 2.0, and says so by 204, as Prometheus 2.42 does."""
        self.names_series = True
        """Whether it says by 2.0 which series it refuses, as Prometheus does."""
        self.declined: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def do_POST(self) -> None:  # http.server's name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self.path, dict(self.headers.items()), body)
                status, text, *more = outer.reply(request)
                data = text.encode()
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self.write_url = f"{self.url}/api/v1/write"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def reply(self, request: Request) -> Answer:
        """Answer one request, and keep what is taken of it."""
        is_2 = request.headers.get("Content-Type") == CONTENT_TYPE_2
        if is_2 and not self.take_2:
            self.declined.append(request)
            return (204, "") if self.ignore_2 else (415, "expected application/x-protobuf")
        if request.path.endswith("/write"):
            body = bytes(cramjam.snappy.decompress_raw(request.body))
            request.samples = decode_2(body) if is_2 else decode(body)
        status, text, *more = self.answer(request)
        good = request.samples if status < 300 else []
        if self.bad is not None and status < 300:
            why = [(sample, reason) for sample in good if (reason := self.bad(sample))]
            if why:
                refused = [sample for sample, _ in why]
                good = [sample for sample in good if sample not in refused] if is_2 else []
                status = 400
                named = [f"{reason} for series {series_text(sample[0])}" for sample, reason in why]
                text = "\n".join(named) if is_2 and self.names_series else why[0][1]
        self.requests.append(request)
        self.taken += good
        if is_2 and self.confirms:
            more = [{WRITTEN: str(len(good)), **(more[0] if more else {})}]
        return (status, text, *more)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)

    def by_stamp(self, family: str = "aws_cost_daily_usd") -> dict[tuple[str, str, int], float]:
        """Taken values of a family by account id, service and stamp; the first one stays, as in Prometheus."""
        found: dict[tuple[str, str, int], float] = {}
        for labels, stamp, value in self.taken:
            named = dict(labels)
            if named["__name__"] == family:
                found.setdefault((named.get("account_id", ""), named.get("service", ""), stamp), value)
        return found
