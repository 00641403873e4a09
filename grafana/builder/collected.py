"""What a panel shows where the collector behind it is off or has not read AWS yet: never an empty panel that reads as good news."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from grafana.builder.style import MUTED, STATE, fixed, instant, properties, rows, when_unknown

# Served from the start of an exporter for each collector that is enabled, before it has read anything.
_ENABLED = "aws_spend_exporter_collector_errors_total"
_READ = "aws_spend_exporter_collector_last_success_timestamp_seconds"
_FRAMES = model.MatcherConfig(id_val="byFrameRefID", options=STATE)
_OFF, _UNREAD, _NO_EXPORTER = 0, -1, -2


P = TypeVar("P", stat.Panel, bargauge.Panel)


@dataclass(frozen=True, slots=True)
class Collected:
    """The collectors that a panel needs, any of them, by their names in the configuration."""

    collectors: tuple[str, ...]

    @property
    def _matcher(self) -> str:
        return f'{{collector=~"{"|".join(self.collectors)}"}}'

    @property
    def _texts(self) -> dict[int, str]:
        keys = " or ".join(f"collectors.{name}" for name in self.collectors)
        return {
            _OFF: f"off: switch on {keys}",
            _UNREAD: "not read yet: see Exporter",
            _NO_EXPORTER: "no exporter was scraped",
        }

    def or_zero(self, expr: str) -> str:
        """An expression without labels, and zero where AWS was read and it has no series."""
        return f"{expr} or on () 0 * group({_READ}{self._matcher})"

    def state(self, label: str) -> str:
        """One series with a text in `label` while nothing can be known, none as soon as AWS was read."""
        states = {
            _OFF: f"group({_ENABLED}) unless on () group({_ENABLED}{self._matcher})",
            _UNREAD: f"group({_ENABLED}{self._matcher}) unless on () group({_READ}{self._matcher})",
            _NO_EXPORTER: f"absent({_ENABLED})",
        }
        return " or ".join(
            f'label_replace(({vector}) - {1 - value}, "{label}", "{self._texts[value]}", "", "")'
            for value, vector in states.items()
        )

    def in_values(self, panel: P, name: str) -> P:
        """Say it as a value, under this name."""
        mapping = model.ValueMap(
            options={
                str(value): model.ValueMappingResult(text=text, color=MUTED)
                for value, text in self._texts.items()
            }
        )
        panel.with_override(_FRAMES, properties(mappings=[mapping], color=fixed(MUTED)))
        panel.with_target(instant(STATE, self.state("state"), name))
        return panel

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


ACCOUNTS = Collected(("accounts",))  # always on
ANOMALY_CAUSES = Collected(("anomaly_causes",))
AWS_BUDGETS = Collected(("budgets",))
COMMITMENTS = Collected(("commitments",))
COST = Collected(("cost",))
COST_ANOMALY_DETECTION = Collected(("cost_anomaly_detection",))
EC2_INSTANCES = Collected(("inventory", "ec2_instances"))
EC2_RUNNING = Collected(("ec2_running",))
FORECAST = Collected(("forecast",))
INVENTORY = Collected(("inventory",))
SAVINGS_OPPORTUNITIES = Collected(("savings_opportunities",))
USAGE = Collected(("usage",))
