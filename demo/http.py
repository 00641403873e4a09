"""Requests to the demo's own servers: no proxy, no credentials from ~/.netrc, one kind of error."""

from typing import Any

import requests

from demo.errors import DemoError

TIMEOUT = 30.0


def get(url: str, **parameters: str) -> Any:
    """The JSON that a GET answers; raises DemoError."""
    return _call("GET", url, parameters, None, TIMEOUT)


def post(url: str, body: Any, timeout: float = TIMEOUT) -> Any:
    """The JSON that a POST of JSON answers; raises DemoError with the server's own words."""
    return _call("POST", url, {}, body, timeout)


def text(url: str) -> str:
    """What a GET answers within two seconds, with any status; empty if nothing."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=2).text
        except requests.RequestException:
            return ""


def answers(url: str) -> bool:
    """Whether a GET is answered with success within two seconds."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=2).ok
        except requests.RequestException:
            return False


def _call(method: str, url: str, parameters: dict[str, str], body: Any, timeout: float) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.request(method, url, params=parameters, json=body, timeout=timeout)
        except requests.RequestException as error:
            raise DemoError(f"{url} does not answer: {type(error).__name__}") from error
        if not answer.ok:
            raise DemoError(_reason(answer))
        try:
            return answer.json()
        except ValueError as error:
            raise DemoError(f"{url} answered something that is not JSON") from error


def _reason(answer: requests.Response) -> str:
    try:
        said = answer.json()
    except ValueError:
        said = answer.text[:300]
    if isinstance(said, dict):
        said = said.get("error") or said.get("message") or said.get("detail") or said
    return f"{answer.status_code}: {said}"
