"""What a demo is started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

CostSource = Literal["cost_explorer", "data_export"]
COST_SOURCES: tuple[CostSource, ...] = get_args(CostSource)
EXPORT_NAME = "cost"

_COST_SECONDS, _ACCOUNTS_A_COST_SECOND = 3, 10
_UNITS_SECONDS, _ACCOUNTS_A_UNITS_SECOND = 30, 1
_ACCOUNTS_A_SCRAPE_SECOND = 60
_MOST_AWAITED_ACCOUNTS = 50


@dataclass(frozen=True, slots=True)
class Options:
    """What the simulated organisation is made of, and the wanted port of each server (0: a free one)."""

    accounts: int = 6
    services: int = 8
    regions: tuple[str, ...] = ("us-east-1", "eu-west-1")
    seed: int = 1
    days: int = 400
    groups_per_page: int = 1000
    grafana: bool = True
    inventory: bool = False
    """Also list what the accounts own, which the simulator fills on first use: in half a minute."""
    cost_source: CostSource = "cost_explorer"
    """Where the exporter reads cost; with `data_export` the organisation delivers one, of the resources that are listed."""
    ports: Mapping[str, int] = field(default_factory=dict)
    scrape_seconds: int = 1
    """Between two scrapes, and for one: a scrape that takes longer fails, and nothing is live until the next."""
    patience: float = 90.0
    """Seconds that a server may take to be ready, counted from its last progress; one that dies is reported at once."""

    def cost_seconds(self) -> int:
        """Between two reads of cost: the more accounts, the longer one takes."""
        return max(_COST_SECONDS, self.accounts // _ACCOUNTS_A_COST_SECOND)

    def awaits_units(self) -> bool:
        """Whether the start waits until each account was read once: the first inventory, and many accounts, take minutes."""
        return not self.inventory and self.accounts <= _MOST_AWAITED_ACCOUNTS

    def units_seconds(self) -> int:
        """Between two reads of an account, so that all of them are read in it."""
        return max(_UNITS_SECONDS, self.accounts // _ACCOUNTS_A_UNITS_SECOND)

    @property
    def is_exported(self) -> bool:
        """Whether cost comes from a data export."""
        return self.cost_source == "data_export"

    def simulator_arguments(self, port: int) -> list[str]:
        """The command line of the simulated AWS that listens on `port`."""
        return [
            *("--port", str(port)),
            *("--accounts", str(self.accounts)),
            *("--services", str(self.services)),
            *("--regions", ",".join(self.regions)),
            *("--seed", str(self.seed)),
            *("--days", str(self.days)),
            *("--groups-per-page", str(self.groups_per_page)),
            # With the charges of each kind of line, both sources name the same services.
            *(("--export", EXPORT_NAME, "--varied-charges") if self.is_exported else ()),
            *(("--inventory-resources",) if self.is_exported and self.inventory else ()),
        ]


def scrape_seconds(accounts: int) -> int:
    """Enough for a scrape of so many accounts."""
    return max(1, accounts // _ACCOUNTS_A_SCRAPE_SECOND)
