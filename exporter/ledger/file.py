"""What costs money or must survive a restart, in one SQLite file.

Cost is kept per UTC day, linked account and service, as AWS reported it last; charges, reads and
account names beside it. Money is stored as integers of 1e-10 USD, because SQLite sums text as
floats; outside it is Decimal. The only writer is `run`, which holds a lock file. Every public
method that writes is one transaction: a kill at any moment loses nothing that was committed.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from exporter.ledger.accounts import AccountHistory
from exporter.ledger.charges import LedgerCharges
from exporter.ledger.cost import CostTable
from exporter.ledger.database import Database
from exporter.ledger.facts import Facts
from exporter.ledger.months import CostMonths
from exporter.ledger.pending import PendingReads
from exporter.ledger.reads import CostReads


class Ledger:
    """The file and what it holds; thread-safe.

    `reads` takes what AWS answered, `cost` returns it; `months` compares it by month, `pending` has what is to be
    read again; `accounts` has names and organizational units, `charges`
    what requests were charged, `facts` small numbers. Other modules keep tables through `transaction` and `connection`.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open or create `path`; LedgerLockedError if another `run` writes it."""
        self.path = path
        self._database = Database(path, read_only=read_only)
        self.facts = Facts(self._database)
        self.reads = CostReads(self._database)
        self.months = CostMonths(self._database)
        self.pending = PendingReads(self._database)
        self.cost = CostTable(self._database, self.facts)
        self.accounts = AccountHistory(self._database)
        self.charges = LedgerCharges(self._database)

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Commit everything inside together or nothing of it; may be nested, within one thread."""
        return self._database.transaction()

    def connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """The connection for reading, while no other thread uses it."""
        return self._database.connection()

    def size_bytes(self) -> int:
        """The size of the file and its write-ahead log; sqlite3.Error or OSError if it is not there."""
        return self._database.size_bytes()

    def check(self) -> None:
        """Read from the file, not from what is remembered of it; sqlite3.Error if it cannot be read."""
        self._database.check()

    def data_version(self) -> int:
        """A number that differs after each commit of another connection; sqlite3.Error if the file cannot be read."""
        return self._database.data_version()

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._database.close()
