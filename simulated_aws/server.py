"""The simulated AWS: one listener on the loopback interface that any AWS SDK can use as its endpoint."""

from __future__ import annotations

import json
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any

from cheroot import wsgi

from simulated_aws import hostile_answers
from simulated_aws.control import Control
from simulated_aws.cost_truth import ExplicitCost
from simulated_aws.faults import Fault, fault_error, internal_error, plain_answer
from simulated_aws.identity import PAYER_ACCESS_KEY, PAYER_SECRET_KEY, Session, signature_error
from simulated_aws.service_names import ServiceNames
from simulated_aws.signature import signature_matches
from simulated_aws.spec import OrganizationSpec
from simulated_aws.wire import AwsCall, AwsError, Response, error_response, json_response, read_call
from simulated_aws.world import World

_log = logging.getLogger(__name__)
_THREADS = 64
_HOSTILE_SECONDS = 120.0  # of an answer without end
_BODY_LIMIT = 64 * 2**20


class ConnectionDropped(Exception):  # noqa: N818 - it is an outcome, not an error of ours
    """The connection ends without an answer."""


class SimulatedAws(World):
    """An AWS organisation over HTTP on 127.0.0.1, to be used as a context manager.

    `port` 0 takes a free one. `costs` replaces the generated cost by exactly these rows.
    Several may run in one process when their seeds differ; moto's inventory is shared by account id.
    """

    def __init__(
        self, spec: OrganizationSpec | None = None, port: int = 0, costs: Iterable[ExplicitCost] | None = None
    ) -> None:
        super().__init__(spec, costs)
        self._control = Control(self)
        self._services = self._answers_of_services()
        self._names = ServiceNames((*self._services, *self.inventory.services))
        self._requested_port = port
        self.tamper: Callable[[AwsCall, Response], Response] | None = None
        """What is made of each answer before it is sent; None: nothing."""
        self._server: wsgi.Server | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    # -- life ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen and answer; OSError when the port is taken."""
        server = _Server(
            ("127.0.0.1", self._requested_port),
            self._application,
            numthreads=_THREADS,
            request_queue_size=128,
        )
        server.shutdown_timeout = 1
        server.timeout = 30
        server.expiration_interval = 0.1
        server.prepare()
        self._server = server
        self._thread = threading.Thread(target=server.serve, name="simulated-aws", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let go of what hangs, end all threads and close the listener; harmless when not started."""
        self._stopping.set()
        self.faults.clear()
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._thread is not None:
            self._thread.join(5)
            self._thread = None
        self.athena.close()
        self.inventory.close()
        self.exports.close()

    def __enter__(self) -> SimulatedAws:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- what callers use ------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._server is None:
            raise RuntimeError("the simulated AWS is not started")
        return int(self._server.bind_addr[1])

    @property
    def url(self) -> str:
        """The endpoint URL."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The environment variables with which any AWS SDK talks to this organisation as its payer."""
        region = self.spec.regions[0]
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": PAYER_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": PAYER_SECRET_KEY,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    # -- one request -----------------------------------------------------------------------------------

    def _application(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(min(length, _BODY_LIMIT)) if length else _read_chunks(environ)
        if str(environ.get("PATH_INFO", "")).startswith("/_simulator"):
            response = self._control.answer(
                str(environ["REQUEST_METHOD"]),
                str(environ["PATH_INFO"]),
                str(environ.get("QUERY_STRING", "")),
                body,
            )
        else:
            response = self._answer(environ, body)
        status = f"{response.status} {_phrase(response.status)}"
        headers = {**response.headers, "Content-Length": str(len(response.body))}
        start_response(status, list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]

    def _answer(self, environ: Mapping[str, Any], body: bytes) -> Response:
        began = time.monotonic()
        error = ""
        status = 0
        try:
            call = read_call(environ, body, self._names)
        except ValueError:
            call = AwsCall("", "", "", "", "json", body, "", "", {})
            return error_response(call, AwsError("SerializationException", "The request cannot be read."))
        try:
            response = self._checked(call, environ, body)
            status = response.status
        except AwsError as raised:
            error = raised.code
            response = error_response(call, raised)
            status = response.status
        except ConnectionDropped:
            error = "dropped"
            raise
        except Exception:
            _log.exception("%s %s failed", call.service, call.operation)
            error = "InternalFailure"
            response = error_response(call, AwsError(error, "The simulation failed; see its log.", 500))
            status = response.status
        finally:
            logged = call.params if call.service == "ce" or call.operation == "AssumeRole" else None
            self.requests.add(
                time=self.clock.now(),
                account_id=call.account_id,
                service=call.service,
                operation=call.operation,
                region=call.region,
                status=status,
                access_key=call.access_key,
                error=error or (response_error(response) if status >= 400 else ""),
                milliseconds=int((time.monotonic() - began) * 1000),
                params={key: value for key, value in logged.items() if key != "ExternalId"}
                if logged
                else None,
            )
        return response

    def _checked(self, call: AwsCall, environ: Mapping[str, Any], body: bytes) -> Response:
        call.account_id = self.identity.account_of(call.access_key)
        if call.protocol == "json":
            call.params = _json_params(call.body)
        rules = self.faults.matching(call)
        for rule in rules:
            self._delay(rule, environ)
            if (plain := plain_answer(rule)) is not None:
                return plain
            if rule.kind != "last_page_fails" and (broken := fault_error(rule, call)) is not None:
                raise broken
        if call.service == "sts" and call.operation == "AssumeRoleWithWebIdentity":
            return self.identity.assume_with_web_identity(call)
        session = self.identity.authenticate(call)
        raw_path = str(environ.get("REQUEST_URI") or "/").split("?", 1)[0]
        method = str(environ["REQUEST_METHOD"])
        if not signature_matches(call, session.secret_key, method, raw_path, body, call.headers):
            raise signature_error(call)
        call.query_fails = any(rule.kind == "query_fails" for rule in rules)
        call.query_hangs = any(rule.kind == "query_hangs" for rule in rules)
        response = self._dispatch(call, session, environ, body)
        if self.tamper is not None:
            response = self.tamper(call, response)
        for rule in rules:
            if rule.kind == "malformed":
                response.body = response.body[: len(response.body) // 2]
            elif rule.kind == "last_page_fails" and _is_last_page(call, response):
                self.faults.use(rule)
                raise internal_error(rule, call)
        return response

    def _delay(self, rule: Fault, environ: Mapping[str, Any]) -> None:
        if rule.kind == "latency":
            self._stopping.wait(rule.seconds or 1.0)
        elif rule.kind == "reset":
            _reset(environ["exporter.socket"])
            raise ConnectionDropped
        elif rule.kind == "hang":
            client = environ["exporter.socket"]
            deadline = time.monotonic() + (rule.seconds if rule.seconds is not None else 86_400)
            while time.monotonic() < deadline and not self._stopping.is_set() and not _has_left(client):
                if rule.cleared.wait(0.1):
                    break
            if self._stopping.is_set() or _has_left(client):
                raise ConnectionDropped
        elif rule.kind in hostile_answers.KINDS:
            end = time.monotonic() + (rule.seconds if rule.seconds is not None else _HOSTILE_SECONDS)
            hostile_answers.send(
                rule.kind,
                environ["exporter.socket"],
                lambda seconds: (
                    rule.cleared.wait(seconds) or self._stopping.is_set() or time.monotonic() > end
                ),
            )
            raise ConnectionDropped

    def _dispatch(self, call: AwsCall, session: Session, environ: Mapping[str, Any], body: bytes) -> Response:
        """The answer of the service's own simulation; moto's where it has none for the operation."""
        answer = self._services[call.service](call, session) if call.service in self._services else None
        return answer or self.inventory.answer(call, environ, body)

    def _answers_of_services(self) -> dict[str, Callable[[AwsCall, Session], Response | None]]:
        """What answers for each service that has a simulation here, by botocore's name."""
        return {
            "athena": lambda call, _: json_response(call, self.athena.answer(call)),
            "bcm-data-exports": lambda call, _: json_response(call, self._exports_api.answer(call)),
            "budgets": lambda call, _: json_response(call, self.budgets.answer(call)),
            "ce": lambda call, _: json_response(call, self._cost_management(call)),
            "cloudwatch": lambda call, _: self._cloudwatch.answer(call),
            "cost-optimization-hub": lambda call, _: json_response(call, self.optimization_hub.answer(call)),
            "cur": lambda call, _: json_response(call, self._exports_api.answer(call)),
            "organizations": lambda call, _: json_response(call, self._organizations.answer(call)),
            "pricing": lambda call, _: json_response(call, self._pricing.answer(call)),
            "s3": lambda call, _: self._bucket(call),
            "sts": self.identity.answer,
        }

    def _bucket(self, call: AwsCall) -> Response | None:
        """S3's answer where the bucket has exports; None for all others."""
        name, _, key = call.path.lstrip("/").partition("/")
        if self.exports.buckets.get(name) is None:
            return None
        self.exports.before_get(name, key, call.operation)
        return self.exports.buckets.answer(call)

    def _cost_management(self, call: AwsCall) -> dict[str, Any]:
        if call.operation == "GetAnomalies":
            return self.anomaly_detection.answer(call)
        if self.commitments.answers(call):
            return self.commitments.answer(call)
        if self.cost_allocation.answers(call):
            return self.cost_allocation.answer(call)
        return self.cost_explorer.answer(call)


def _json_params(body: bytes) -> dict[str, Any]:
    try:
        params = json.loads(body or b"{}")
    except ValueError:
        raise AwsError("SerializationException", "The request body is not JSON.") from None
    if not isinstance(params, dict):
        raise AwsError("SerializationException", "Expected an object at the top.")
    return params


def _is_last_page(call: AwsCall, response: Response) -> bool:
    """Whether a paged call was continued and this answer ends it."""
    tokens = ("NextPageToken", "NextToken", "nextToken", "Marker")
    continued = any(call.params.get(name) for name in tokens)
    if not continued:
        return False
    marks = [mark for name in tokens for mark in (f'"{name}"', f"<{name}>")]
    return not any(mark.encode() in response.body for mark in marks)


def response_error(response: Response) -> str:
    """The AWS error code in an answer that moto made, where it can be seen."""
    text = response.body[:2000].decode("utf-8", "replace")
    for opening, closing in (("<Code>", "</Code>"), ('"__type": "', '"'), ('"__type":"', '"')):
        if opening in text:
            return text.split(opening, 1)[1].split(closing, 1)[0]
    return ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _read_chunks(environ: Mapping[str, Any]) -> bytes:
    if str(environ.get("HTTP_TRANSFER_ENCODING", "")).lower() != "chunked":
        return b""
    return bytes(environ["wsgi.input"].read())


def _has_left(client: socket.socket) -> bool:
    """Whether the other side closed its connection."""
    try:
        readable, _, _ = select.select([client], [], [], 0)
        return bool(readable) and client.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True


def _reset(client: socket.socket) -> None:
    try:
        # Zero linger: close() sends RST instead of an orderly end.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        client.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Gateway(wsgi.Gateway_10):
    """Hands the connection to the application, which watches it while it hangs."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        environ["exporter.socket"] = self.req.conn.socket
        return environ

    def respond(self) -> None:
        try:
            super().respond()
        except ConnectionDropped:
            self.req.close_connection = True
            self.req.sent_headers = True


class _Server(wsgi.Server):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gateway = _Gateway

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Clients that leave are nothing to report; what breaks in an answer is logged where it breaks."""
