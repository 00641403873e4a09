"""Which operation a REST request is for, by moto's routing tables; safe while several threads build them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import DataNotFoundError, UnknownServiceError
from moto.core.request import Request
from moto.core.routing import get_service_router
from werkzeug.exceptions import NotFound
from werkzeug.routing import Rule

_compile_rule = Rule.compile
_compiling = threading.Lock()


def _compile_alone(rule: Rule) -> None:
    with _compiling:
        _compile_rule(rule)


# Rules are built out of syntax trees, and some releases of Python 3.11 and 3.12 count a tree's depth for all
# threads together: where a garbage collection lets another thread run in the middle, both fail with "AST
# constructor recursion depth mismatch". It holds for every table of moto's, so it is fixed for the class.
Rule.compile = _compile_alone  # type: ignore[method-assign, assignment]


def rest_operation(environ: Mapping[str, Any], service: str) -> str:
    """The operation of a WSGI request to a REST service; method and path where the service has none such."""
    try:
        operation, _ = get_service_router(service).match(Request(dict(environ)))
    except (NotFound, UnknownServiceError, DataNotFoundError):
        return f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')}"
    return str(operation.name)
