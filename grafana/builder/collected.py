"""What a panel shows where nothing can be known, e.g. while its collector is off: never an empty panel that reads as good news."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from exporter.declarations.collector import INTERVALS_SERVED
from grafana.builder.style import MUTED, STATE, fixed, instant, properties, rows, when_unknown

_COLLECTOR = "aws_spend_exporter_collector_"
# Served from the start of an exporter for each collector that is enabled, before it has read anything.
ENABLED = f"{_COLLECTOR}errors_total"
_READ = f"{_COLLECTOR}last_success_timestamp_seconds"
_FRAMES = model.MatcherConfig(id_val="byFrameRefID", options=STATE)
# Alerts are series only while they fire; this one always does.
_RULES_LOADED = 'group(ALERTS{alertname="AwsSpendWatchdog"})'
NOTHING_SCRAPED = "nothing was scraped at the end of the range"
_FAILS = "some reads fail"
# Not as short as intervals in a demo, where the slowest of a collector's units takes longer than three of them.
_STALE_AFTER = 900
_NOT_LOADED = "alert rules are not loaded"
FEWER_FILTERS = "known for fewer filters only: see the tables"
# Beside values in a tile, all of them are as small as the longest.
_IN_TILES = {_NOT_LOADED: "no alert rules", FEWER_FILTERS: "too many filters"}


P = TypeVar("P", stat.Panel, bargauge.Panel)


class Source(ABC):
    """What a panel is made of, and the states in which it cannot be known."""

    @abstractmethod
    def state(self, label: str) -> str:
        """One series for each state that holds, with its text in `label`; none while all is known."""

    def in_legend(self, panel: timeseries.Panel) -> timeseries.Panel:
        """Say it as the name of a series without points, as it is at the end of the range."""
        # The legend sums up that series, too: to nothing rather than to zero.
        nothing = model.ValueMap(options={"0": model.ValueMappingResult(text="–")})
        panel.with_override(
            _FRAMES,
            properties(
                mappings=[nothing, when_unknown("–")], color=fixed(MUTED), custom__axisPlacement="hidden"
            ),
        )
        return panel.with_target(instant(STATE, f"({self.state('state')}) * NaN", "{{state}}"))

    def in_rows(self, panel: table.Panel, label: str) -> table.Panel:
        """Say it as a row, in the column of this label."""
        return panel.with_target(rows(STATE, self.state(label)))


class Enumerated(Source):
    """A source whose states have numbers: a panel of values says them, too."""

    @abstractmethod
    def unknown(self) -> Mapping[str, str]:
        """A text for each state, with a vector that has one series, of value 1 and without labels, while it holds."""

    def state(self, label: str, without: tuple[str, ...] = ()) -> str:
        """Each state has its number, from 0 down, as its value."""
        return " or ".join(
            f'label_replace(({vector}) - {1 + number}, "{label}", "{text}", "", "")'
            for number, (text, vector) in enumerate(self.unknown().items())
            if text not in without
        )

    def in_values(self, panel: P, name: str) -> P:
        """Say it as a value, under this name."""
        shorter = _IN_TILES if isinstance(panel, stat.Panel) else {}
        mapping = model.ValueMap(
            options={
                str(-number): model.ValueMappingResult(text=shorter.get(text, text), color=MUTED)
                for number, text in enumerate(self.unknown())
            }
        )
        # Within these limits, a text has no bar.
        panel.with_override(_FRAMES, properties(mappings=[mapping], color=fixed(MUTED), min=0, max=1))
        panel.with_target(instant(STATE, self.state("state", self._beside(panel)), name))
        return panel

    @staticmethod
    def _beside(panel: P) -> tuple[str, ...]:
        """What is not said: a text beside the figures of a tile would leave them no room."""
        return (_FAILS,) if isinstance(panel, stat.Panel) else ()


@dataclass(frozen=True, slots=True)
class Collected(Enumerated):
    """What collectors read, by their names in the configuration; one of them is enough."""

    collectors: tuple[str, ...]
    by_account: bool = False
    """Whether they read each account with its own role, so that one may be denied alone."""
    ages: bool = True
    """Whether it is served no longer once it was read too long ago."""
    instead: tuple[str, ...] = ()
    """Collectors that read the same where the source of cost is another; they are not switched on for this."""

    def unknown(self) -> Mapping[str, str]:
        keys = " or ".join(f"collectors.{name}" for name in self.collectors)
        enabled = f"group({ENABLED}{{{self._matcher}}})"
        states = {
            f"off: switch on {keys}": f"group({ENABLED}) unless on () {enabled}",
            "not read yet: see Exporter": f"{enabled} unless on () {self._read}",
            NOTHING_SCRAPED: f"absent({ENABLED})",
        }
        if self.ages:
            states["not read recently: see Exporter"] = f"{self._read} unless on () {self._fresh}"
        if self.by_account:
            states[_FAILS] = f"group({self._failing}) and on () {self._fresh}"
        return states

    def or_zero(self, expr: str) -> str:
        """An expression without labels, and zero where all of it was read that is chosen and it has no series."""
        known = self._fresh if self.ages else self._read
        if self.by_account:
            known = f"({known} unless on () {self._failing})"
        return f"{expr} or on () 0 * {known}"

    @property
    def _matcher(self) -> str:
        return f'collector=~"{"|".join((*self.collectors, *self.instead))}"'

    @property
    def _read(self) -> str:
        return f"group({_READ}{{{self._matcher}}})"

    @property
    def _fresh(self) -> str:
        return f"group({self._served('collector')})"

    def _served(self, by: str, matchers: str = "") -> str:
        """The newest success by these labels, where what was read then is served still."""
        interval = f"max by (collector) ({_COLLECTOR}interval_seconds)"
        served = f"clamp_min({INTERVALS_SERVED} * {interval}, {_STALE_AFTER})"
        return f"max by ({by}) ({_READ}{{{self._matcher}{matchers}}}) + on (collector) group_left () {served} > time()"

    @property
    def _failing(self) -> str:
        """Failures for accounts that are chosen, by name or by group, of which the last good values are gone."""
        # All accounts are never chosen: of hundreds some always fail.
        chosen = f'{_COLLECTOR}failure_info{{{self._matcher}, account_id=~"$accounts", account_id!=""}}'
        by = "collector, account_id"
        served = self._served(by, ', account_id!=""')
        return f"({chosen} unless on ({by}) ({served}))"


class Exporter(Enumerated):
    """What every exporter serves, with whichever collectors."""

    def unknown(self) -> Mapping[str, str]:
        return {NOTHING_SCRAPED: f"absent({ENABLED})"}


class Alerts(Enumerated):
    """What the alerting rules find, wherever Prometheus evaluates them."""

    def unknown(self) -> Mapping[str, str]:
        return {
            _NOT_LOADED: f"group({ENABLED}) unless on () {_RULES_LOADED}",
            NOTHING_SCRAPED: f"absent({ENABLED}) unless on () {_RULES_LOADED}",
        }

    def or_zero(self, expr: str) -> str:
        """An expression without labels, and zero where the rules are loaded and it has no series."""
        return f"{expr} or on () 0 * {_RULES_LOADED}"


@dataclass(frozen=True, slots=True)
class Both(Enumerated):
    """Two sources of one panel, each of which can be unknown."""

    first: Enumerated
    second: Enumerated

    def unknown(self) -> Mapping[str, str]:
        states = dict(self.first.unknown())
        for text, vector in self.second.unknown().items():
            known = states.setdefault(text, vector)
            if known != vector:
                states[text] = f"({known} or on () {vector})"
        return states


ACCOUNTS = Collected(("accounts",), ages=False)  # always on; what is configured of the accounts stays
ALERTS = Alerts()
AWS_BUDGETS = Collected(("budgets",))
COMMITMENTS = Collected(("commitments",))
COST = Collected(("cost",))
# Served with the findings that they explain; an export has the causes in its lines.
ANOMALY_CAUSES = Both(COST, Collected(("anomaly_causes",), instead=("cost_export",)))
COST_ANOMALY_DETECTION = Collected(("cost_anomaly_detection",))
EC2_INSTANCES = Collected(("inventory", "ec2_instances"), by_account=True)
EC2_RUNNING = Collected(("ec2_running",), by_account=True)
EXPORTER = Exporter()
FORECAST = Collected(("forecast",))
INVENTORY = Collected(("inventory",), by_account=True)
LIST_PRICES = Collected(("inventory",), ages=False)
SAVINGS_OPPORTUNITIES = Collected(("savings_opportunities",))
USAGE = Collected(("usage",), by_account=True)
USAGE_OR_RUNNING = Collected(("usage", "ec2_running"), by_account=True)
