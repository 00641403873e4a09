"""Passwords of the web configuration file against their bcrypt hashes, and the answers that are remembered."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import bcrypt

_BCRYPT_READS_BYTES = 72


class TooManyGuessesError(Exception):
    """So many passwords wait to be checked that this one is not."""


@dataclass(frozen=True, slots=True)
class PasswordLimits:
    """What passwords may take of the process."""

    guesses: int = 32
    """Passwords that wait to be checked."""
    remembered: int = 100
    """Answers that are remembered, as many for right as for wrong passwords."""


def matches(password: bytes, hashed: str) -> bool:
    """Whether a password is the one of a bcrypt hash."""
    return bcrypt.checkpw(password[:_BCRYPT_READS_BYTES], hashed.encode())


class Passwords:
    """Checks passwords against bcrypt hashes, one at a time, and remembers the answers: it is slow by design."""

    def __init__(
        self,
        limits: PasswordLimits = PasswordLimits(),  # frozen
        matches: Callable[[bytes, str], bool] = matches,
    ) -> None:
        self._limits = limits
        self._matches = matches
        self._key = secrets.token_bytes(32)
        self._known: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._turn = asyncio.Lock()
        self._guesses = 0
        # Unknown users take as long as known ones. It is the hash of nothing that anyone knows.
        self._nobody = bcrypt.hashpw(secrets.token_bytes(32), bcrypt.gensalt(10)).decode()

    async def fit(self, users: Mapping[str, str], authorization: str) -> bool:
        """Whether an Authorization header holds the password of one of `users`; TooManyGuessesError."""
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, colon, password = base64.b64decode(given.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        if not colon:
            return False
        name = user.decode("utf-8", "replace")
        hashed = users.get(name, self._nobody)
        key = hmac.digest(
            self._key, hashlib.sha256(user + b"\0" + hashed.encode() + b"\0" + password).digest(), "sha256"
        )
        # Who is known does not queue behind those who guess.
        if (answer := self._remembered(key)) is not None:
            return answer
        # Who waits here holds one of the server's connections.
        if self._guesses >= self._limits.guesses:
            raise TooManyGuessesError
        self._guesses += 1
        try:
            async with self._turn:
                if (answer := self._remembered(key)) is not None:
                    return answer
                answer = await asyncio.to_thread(self._matches, password, hashed) and name in users
                known = self._known[answer]
                known[key] = None
                if len(known) > self._limits.remembered:
                    known.popitem(last=False)
                return answer
        finally:
            self._guesses -= 1

    def _remembered(self, key: bytes) -> bool | None:
        for answer, known in self._known.items():
            if key in known:
                known.move_to_end(key)
                return answer
        return None
