"""Exporter: whether collection works, and what asking AWS costs."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder.collected import ACCOUNTS
from grafana.builder.frame import frame
from grafana.builder.style import (
    BAD,
    BY_THRESHOLD,
    GOOD,
    NEUTRAL,
    USD,
    WARNING,
    bars_that_fit,
    columns,
    fixed,
    hourly_bars,
    hourly_counts,
    instant,
    legend,
    line_panel,
    properties,
    ranged,
    ranking_bars,
    rows,
    stat_panel,
    steps,
    table_panel,
    thresholds,
    when_unknown,
)

_SELF = "aws_spend_exporter_"
_FAILURES = f"{_SELF}collector_failure_info"


def build() -> Dashboard:
    return (
        frame(
            "exporter",
            "Exporter",
            "Whether collection works, and what asking AWS costs.",
            start="now-24h",
            without=("grouping", "group", "account", "service", "region"),
        )
        .with_panel(_state())
        .with_panel(_remaining())
        .with_panel(_history())
        .with_panel(_ages())
        .with_panel(_failing())
        .with_panel(_charges())
        .with_panel(_requests())
        .with_panel(_errors())
        .with_panel(_durations())
        .with_panel(_series())
        .with_panel(_written())
        .with_panel(_ledger())
        .with_panel(_deliveries())
        .build()
    )


def _state() -> stat.Panel:
    return (
        stat_panel(
            "Collection",
            "Accounts that are collected, collections that fail now, and whether the configuration was read without "
            "an error. As old as the last scrape.",
            width=9,
            height=5,
            named=True,
        )
        .unit("none")
        .decimals(0)
        .with_target(instant("A", f"max({_SELF}accounts)", "Accounts"))
        .with_target(
            instant("B", f"count({_FAILURES}) or 0 * count({_SELF}collector_success)", "Failing collections")
        )
        .with_target(instant("C", f"min({_SELF}config_last_reload_successful)", "Configuration"))
        .override_by_name("Failing collections", properties(thresholds=steps((None, GOOD), (1, BAD))))
        .override_by_name(
            "Configuration",
            properties(
                mappings=[
                    {
                        "type": "value",
                        "options": {
                            "0": {"text": "refused", "color": BAD},
                            "1": {"text": "in force", "color": GOOD},
                        },
                    }
                ]
            ),
        )
    )


def _remaining() -> bargauge.Panel:
    return (
        ranking_bars(
            "Dollars left for AWS requests",
            "What may still be spent on AWS requests by ceiling and period; what has no ceiling is "
            "not shown. As old as the last scrape.",
            width=7,
            height=5,
        )
        .no_value("no ceilings")
        .unit(USD)
        .decimals(2)
        .with_target(
            instant(
                "A",
                f"min by (ceiling, period) ({_SELF}request_ceiling_remaining_usd)",
                "{{ceiling}}, {{period}}",
            )
        )
    )


def _history() -> stat.Panel:
    return (
        stat_panel(
            "Dated history",
            "Days that differed from the ledger at the last comparison, and how long ago dated samples were last "
            "taken. They are compared daily, the newest three days every ten minutes.",
            width=8,
            height=5,
            named=True,
        )
        .unit("none")
        .decimals(0)
        .mappings([when_unknown("not written")])
        .with_target(instant("A", f"max({_SELF}history_divergent_dates)", "Divergent days"))
        .with_target(instant("B", f"time() - max({_SELF}history_last_write_timestamp_seconds)", "Last write"))
        .override_by_name("Divergent days", properties(thresholds=steps((None, GOOD), (1, WARNING))))
        .override_by_name("Last write", properties(unit="s"))
    )


def _ages() -> bargauge.Panel:
    return (
        ranking_bars(
            "Age of the oldest success, in intervals",
            f"For the {bars_that_fit(8)} collectors that have waited longest, how many of its intervals ago the unit that has waited longest was last read. "
            "After three, its values go absent. As old as the last scrape.",
            width=9,
            height=8,
        )
        .unit("none")
        .decimals(1)
        .color_scheme(BY_THRESHOLD)
        .thresholds(thresholds((None, GOOD), (1.5, WARNING), (3, BAD)))
        .with_target(
            instant(
                "A",
                f"sort_desc(topk({bars_that_fit(8)}, (time() - min by (collector) ({_SELF}collector_last_success_timestamp_seconds))"
                f" / on (collector) max by (collector) ({_SELF}collector_interval_seconds)))",
                "{{collector}}",
            )
        )
    )


def _failing() -> table.Panel:
    panel = (
        table_panel(
            "Current failures",
            "Collectors that fail for an account, by kind of failure, at most 50; unit and region where it is a single one. Their last "
            "good values stay for three intervals. As old as the last scrape.",
            width=15,
            height=8,
        )
        .no_value("nothing fails")
        .with_target(
            rows("A", f"topk(50, max by (collector, account_id, account, unit, region, kind) ({_FAILURES}))")
        )
        .transformations(
            columns(
                {
                    "collector": "Collector",
                    "account": "Account",
                    "account_id": "Account id",
                    "unit": "Unit",
                    "region": "Region",
                    "kind": "Kind",
                }
            )
        )
    )
    return ACCOUNTS.in_rows(panel, "collector")


def _charges() -> timeseries.Panel:
    return (
        hourly_bars(
            "Charges for AWS requests",
            "Dollars that AWS charges for requests of each hour, by operation: every attempt counts, so it is an upper "
            "bound. Counted by the running process, as old as the last scrape.",
            width=12,
            height=8,
        )
        .decimals(3)
        .with_target(
            ranged(
                "A",
                f"sum by (service, operation) (increase({_SELF}api_charges_usd_total[1h] offset -1h)) > 0",
                "{{service}} {{operation}}",
                "1h",
            )
        )
    )


def _requests() -> timeseries.Panel:
    every = f"sum by (service, operation) (increase({_SELF}api_requests_total[1h] offset -1h))"
    return (
        hourly_counts(
            "AWS requests",
            "Requests to AWS in each hour, paid and free, the twelve operations with most of them. Counted by the "
            "running process, as old as the last scrape.",
            width=12,
            height=8,
        )
        .legend(legend("sum", "Total"))
        .with_target(
            ranged(
                "A",
                f"{every} and on (service, operation)"
                f" topk(12, sum by (service, operation) (last_over_time({_SELF}api_requests_total[2h] @ end() offset -1h)))",
                "{{service}} {{operation}}",
                "1h",
            )
        )
    )


def _errors() -> timeseries.Panel:
    panel = (
        hourly_counts(
            "Failed collections",
            "Collections of one account and region that failed in each hour, by collector and kind. As old as the "
            "last scrape.",
            width=12,
            height=8,
        )
        .no_value("none failed")
        .with_target(
            ranged(
                "A",
                f"sum by (collector, kind) (increase({_SELF}collector_errors_total[1h] offset -1h)) > 0",
                "{{collector}}: {{kind}}",
                "1h",
            )
        )
    )
    return ACCOUNTS.in_legend(panel)


def _durations() -> timeseries.Panel:
    def rate(part: str) -> str:
        return f"sum by (collector) (rate({_SELF}collector_duration_seconds_{part}[$__rate_interval]))"

    return (
        line_panel(
            "Duration of a run",
            "Average seconds that a collector took for all its accounts and regions, while it ran. As old as the last "
            "scrape.",
            width=12,
            height=8,
        )
        .unit("s")
        .min(0)
        .span_nulls(True)
        .with_target(ranged("A", f"{rate('sum')} / ({rate('count')} > 0)", "{{collector}}", "1m"))
    )


def _series() -> timeseries.Panel:
    served = f"max by (collector) ({_SELF}series)"
    return (
        line_panel(
            "Series served",
            "Series in the exporter's answer to a scrape, by the collector or view that they come from, the ten with "
            "most of them. As old as the last scrape.",
            width=12,
            height=8,
        )
        .legend(legend("lastNotNull", "Last *"))
        .unit("short")
        .min(0)
        .with_target(
            ranged(
                "A",
                f"{served} and on (collector) topk(10, max by (collector)"
                f" (last_over_time({_SELF}series[10m] @ end())))",
                "{{collector}}",
                "1m",
            )
        )
    )


def _written() -> timeseries.Panel:
    def hourly(family: str) -> str:
        return f"sum(increase({_SELF}history_{family}_total[1h] offset -1h))"

    return (
        hourly_counts(
            "History writes",
            "Dated samples that Prometheus took and refused in each hour, and attempts to write that failed and are "
            "repeated. As old as the last scrape.",
            width=12,
            height=8,
        )
        .with_target(ranged("A", hourly("samples_written"), "Taken", "1h"))
        .with_target(ranged("B", hourly("samples_rejected"), "Refused", "1h"))
        .with_target(ranged("C", hourly("write_failures"), "Failed attempts", "1h"))
        .override_by_name("Taken", properties(color=fixed(NEUTRAL)))
        .override_by_name("Refused", properties(color=fixed(BAD)))
        .override_by_name("Failed attempts", properties(color=fixed(WARNING)))
    )


def _ledger() -> timeseries.Panel:
    return (
        line_panel(
            "Ledger",
            "Size of the ledger's file with its write-ahead log, and on the right its rows of cost. As old as the last "
            "scrape.",
            width=12,
            height=8,
        )
        .unit("bytes")
        .min(0)
        .with_target(ranged("A", f"max({_SELF}ledger_bytes)", "Bytes", "1m"))
        .with_target(ranged("B", f"max({_SELF}ledger_rows)", "Rows", "1m"))
        .override_by_name("Bytes", properties(color=fixed(NEUTRAL)))
        .override_by_name(
            "Rows",
            properties(
                unit="short", color=fixed("purple"), custom__fillOpacity=0, custom__axisPlacement="right"
            ),
        )
    )


def _deliveries() -> timeseries.Panel:
    return hourly_counts(
        "Messages to Telex",
        "Attempts of the relay to post a message in each hour, by channel and how they ended; what failed for a "
        "while is tried again. As old as the last scrape of the relay.",
        width=12,
        height=8,
    ).with_target(
        ranged(
            "A",
            f"sum by (channel, result) (increase({_SELF}relay_deliveries_total[1h] offset -1h))",
            "{{channel}}: {{result}}",
            "1h",
        )
    )
