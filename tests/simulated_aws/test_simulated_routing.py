"""The simulator understands REST requests, also while many threads ask a service for the first time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from moto.core.routing import get_service_router

from simulated_aws.routing import rest_operation
from simulated_aws.service_names import service_model

_THREADS = 8


def request(path: str, method: str = "GET") -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80",
        "HTTP_HOST": "127.0.0.1", "wsgi.url_scheme": "http",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("service", "path", "method", "operation"),
    [
        ("eks", "/clusters", "GET", "ListClusters"),
        ("eks", "/clusters/production", "GET", "DescribeCluster"),
        ("eks", "/clusters", "POST", "CreateCluster"),
        ("eks", "/nothing", "GET", "GET /nothing"),
        ("no-such-service", "/clusters", "GET", "GET /clusters"),
        ("", "/clusters", "DELETE", "DELETE /clusters"),
    ],
)
def test_the_operation_of_a_rest_request(service: str, path: str, method: str, operation: str) -> None:
    assert rest_operation(request(path, method), service) == operation


@pytest.mark.parametrize("service", ["no-such-service", "", "../eks"])
def test_a_service_without_a_model(service: str) -> None:
    assert service_model(service) is None


def test_threads_that_ask_first_all_learn_the_operation(eager_switches: None) -> None:
    """Python 3.11 fails in one of them where rules are compiled at once."""
    together = threading.Barrier(_THREADS)

    def ask(_: int) -> str:
        together.wait(30)
        return rest_operation(request("/clusters"), "eks")

    get_service_router.cache_clear()
    with ThreadPoolExecutor(_THREADS) as threads:
        assert list(threads.map(ask, range(_THREADS))) == ["ListClusters"] * _THREADS
