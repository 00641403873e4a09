"""Answers that no honest server gives: byte by byte, without end, or cut off by silence; written on the bare connection."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable

KINDS = ("drip_headers", "drip_body", "endless", "endless_length", "stall")

_DRIP_SECONDS = 0.05
_PIECE = b" " * 65_536
_MOST_PIECES = (4 << 30) // len(_PIECE)  # whoever reads all of it is beyond help
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def send(kind: str, client: socket.socket, is_over: Callable[[float], bool]) -> None:
    """Answer so until the client leaves; `is_over` waits so many seconds and returns whether to end."""
    try:
        _ANSWERS[kind](client, is_over)
    except OSError:
        return  # the client has left


def _drip(client: socket.socket, data: bytes, is_over: Callable[[float], bool]) -> None:
    for byte in itertools.cycle(data):
        client.sendall(bytes([byte]))
        if is_over(_DRIP_SECONDS):
            return


def _drip_headers(client: socket.socket, is_over: Callable[[float], bool]) -> None:
    client.sendall(_HEAD)
    _drip(client, b"X-More: 1\r\n", is_over)


def _drip_body(client: socket.socket, is_over: Callable[[float], bool]) -> None:
    client.sendall(_HEAD + b"Content-Length: 1000000\r\n\r\n")
    _drip(client, b" ", is_over)


def _endless(client: socket.socket, is_over: Callable[[float], bool]) -> None:
    client.sendall(_CHUNKED)
    piece = b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE)
    for _ in range(_MOST_PIECES):
        client.sendall(piece)
        if is_over(0):
            return


def _endless_length(client: socket.socket, is_over: Callable[[float], bool]) -> None:
    client.sendall(_HEAD + b"Content-Length: 1099511627776\r\n\r\n")
    for _ in range(_MOST_PIECES):
        client.sendall(_PIECE)
        if is_over(0):
            return


def _stall(client: socket.socket, is_over: Callable[[float], bool]) -> None:
    client.sendall(_HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 100)
    while not is_over(0.1):
        pass


_ANSWERS = {
    "drip_headers": _drip_headers,
    "drip_body": _drip_body,
    "endless": _endless,
    "endless_length": _endless_length,
    "stall": _stall,
}
