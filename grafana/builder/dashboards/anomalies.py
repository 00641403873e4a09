"""Anomalies and budgets: what is not as expected, and how much of each threshold is used."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import budgets, collected, costs
from grafana.builder.frame import CHOSEN_IDS, chosen_accounts, frame, hidden_list
from grafana.builder.promql import COST, END, LIVE_COST, PAIR, SUBJECT, select, select_by_account
from grafana.builder.style import (
    BAD,
    BY_THRESHOLD,
    COLUMNS,
    DATASOURCE,
    GOOD,
    MUTED,
    NEUTRAL,
    WARNING,
    account_column,
    account_id_column,
    bars_that_fit,
    columns,
    daily_bars,
    fixed,
    instant,
    legend_below,
    line_over_bars,
    line_panel,
    money_column,
    properties,
    ranged,
    ranking_bars,
    rows,
    service_column,
    stat_panel,
    steps,
    table_panel,
    thresholds,
)

_FIRING = 'ALERTS{alertstate="firing", severity=~"warning|critical"}'
# What tells alerts of one name apart, in the order in which it is shown.
_ABOUT = (
    *("account", "account_id", "service", "collector", "resource_type", "region", "metric"),
    *("channel", "integration", "rule_group", "template", "result", "instance"),
)
_FIRST_ROW = 6  # height, in rows of the grid
_LIMIT = 'on () group_left () max(aws_cost_anomaly_setting{setting="score"})'


def build() -> Dashboard:
    return (
        frame(
            "anomalies",
            "Anomalies and budgets",
            "What is not as expected, and how much of each threshold is used.",
            start="now-30d",
            without=("region",),
        )
        .with_variable(_named())
        .with_variable(_furthest())
        .annotation(_alerts_as_annotations())
        .with_panel(_state())
        .with_panel(costs.budget(5, _FIRST_ROW))
        .with_panel(_alerts())
        .with_panel(costs.anomalies(COLUMNS, 5))
        .with_panel(_causes())
        .with_panel(_expected())
        .with_panel(_band())
        .with_panel(_scores())
        .with_panel(_days())
        .with_panel(_months())
        .with_panel(_limits())
        .with_panel(budgets.aws_budgets(COLUMNS, 7))
        .with_panel(_aws_anomalies())
        .build()
    )


def _alerts_as_annotations() -> dashboard.AnnotationQuery:
    """Grafana draws the time in which an alert fires."""
    return (
        dashboard.AnnotationQuery()
        .name("Open alerts")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(BAD)
        .expr(f"max by (alertname, account_id, account, service) ({_FIRING})")
        .step("60s")
        .title_format("{{alertname}}")
        .text_format("{{account}} {{service}}")
    )


def _state() -> stat.Panel:
    panel = (
        stat_panel(
            "Open now",
            "Findings that stand on the assessed day, alerts that fire, and how long ago that day began. Each refresh of "
            "cost computes the findings again.",
            width=7,
            height=_FIRST_ROW,
            named=True,
        )
        .unit("none")
        .decimals(0)
        .with_target(
            instant(
                "A",
                f"count(aws_cost_anomaly_usd{{{COST}}}) or 0 * count(aws_cost_anomaly_setting)",
                "Anomalies",
            )
        )
        .with_target(instant("B", collected.ALERTS.or_zero(f"count({_FIRING})"), "Alerts"))
        .with_target(instant("C", "time() - max(aws_cost_anomaly_day_timestamp_seconds)", "Day's age"))
        .override_by_regexp("/^A/", properties(thresholds=steps((None, GOOD), (1, WARNING))))
        .override_by_name("Day's age", properties(unit="s", decimals=1))
    )
    return collected.Both(collected.COST, collected.ALERTS).in_values(panel, "State")


def _alerts() -> table.Panel:
    # Alerts of a threshold name their subject, the others one or several of these.
    labels = ", ".join(f'"{label}"' for label in _ABOUT)
    about = f'label_join({_FIRING}, "about", " ", {labels})'
    about = f'label_replace({about}, "about", "$1", "subject", "(.+)")'
    panel = (
        table_panel(
            "Open alerts",
            "Alerts that fire now, at most 50, regardless of the filters; the red marks in the charts show since when. "
            "As old as the last evaluation of the rules.",
            width=12,
            height=_FIRST_ROW,
        )
        .no_value("none")
        .with_target(rows("A", f"topk(50, max by (alertname, severity, about) ({about}))"))
        .transformations(columns({"alertname": "Alert", "severity": "Severity", "about": "About"}))
        .override_by_name("Alert", properties(custom__width=230))
        .override_by_name("Severity", properties(custom__width=75))
        .override_by_name("About", properties(custom__wrapText=True))
    )
    return collected.ALERTS.in_rows(panel, "about")


def _causes() -> table.Panel:
    by = f"{PAIR}, usage_type, operation, region, resource"
    panel = (
        table_panel(
            "Top contributors",
            "For spikes that stand, the usage types that grew most on that day, and by how many dollars. From a data export at no charge, "
            "with the resource that grew most of each; from Cost Explorer for one paid request a spike, if that is enabled, without "
            "resources.",
            width=COLUMNS,
            height=6,
        )
        .no_value("no spike")
        .with_target(rows("A", f"topk(25, sum by ({by}) (aws_cost_anomaly_cause_usd{{{COST}}}))"))
        .transformations(
            columns(
                {
                    "account": "Account",
                    "account_id": "Account id",
                    "service": "Service",
                    "usage_type": "Usage type",
                    "operation": "Operation",
                    "region": "Region",
                    "resource": "Resource",
                    "Value #A": "Grew by",
                }
            )
        )
        .override_by_name("Account", [*account_column(), *properties(custom__width=115)])
        .override_by_name("Service", [*service_column(), *properties(custom__width=240)])
        .override_by_name("Account id", account_id_column(COLUMNS))
        .override_by_name("Region", properties(custom__width=120))
        .override_by_name("Resource", properties(custom__wrapText=True))
        .override_by_name("Grew by", money_column())
    )
    return collected.ANOMALY_CAUSES.in_rows(panel, "service")


def _expected() -> table.Panel:
    furthest = f"topk(20, abs(sum by ({PAIR}) (aws_cost_deviation_score{{{COST}}})))"

    def of(family: str) -> str:
        return f"sum by ({PAIR}) ({family}{{{COST}}})"

    def row(ref: str, expr: str) -> prometheus.Dataquery:
        return rows(ref, f"({expr}) and on ({PAIR}) {furthest}")

    actual, expected = of("aws_cost_assessed_usage_usd"), of("aws_cost_expected_usd")
    score = of("aws_cost_deviation_score")
    edge = f"{expected} + ({actual} - {expected}) / abs({score} != 0) * {_LIMIT}"
    panel = (
        table_panel(
            "Assessed day",
            "The newest assessed day: the usage that was expected at amortized cost, what it came to, the end of the "
            "expected band on the side where it lies, and how many robust deviations it is off; the 20 furthest off. It "
            "ended one or two days ago, at the start of a month up to five.",
            width=COLUMNS,
            height=9,
        )
        .no_value("no day is assessed yet")
        .transformations(
            columns(
                {
                    "account": "Account",
                    "account_id": "Account id",
                    "service": "Service",
                    "Value #A": "Expected",
                    "Value #C": "End of the band",
                    "Value #B": "Actual",
                    "Value #D": "Score",
                }
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("Score").desc(True)])
        .override_by_name("Account", account_column())
        .override_by_name("Account id", account_id_column(COLUMNS))
        .override_by_name(
            "Score",
            properties(
                unit="none",
                decimals=1,
                noValue="–",
                custom__width=80,
                custom__cellOptions={"type": "color-text"},
                thresholds=steps((None, NEUTRAL), (5, BAD)),
            ),
        )
    )
    for ref, expr in (("A", expected), ("B", actual), ("C", edge), ("D", score)):
        panel.with_target(row(ref, expr))
    for column in ("Expected", "Actual", "End of the band"):
        panel.override_by_name(column, money_column())
    return collected.COST.in_rows(panel, "service")


# Live gauges of an assessed day at that day, for where there is no dated history: what they showed three days
# after it began, if that was of this day.
_LIVE = "[1d] offset -3d"
_THIS_DAY = f"on () group(last_over_time(aws_cost_anomaly_day_timestamp_seconds{_LIVE}) == time())"
_ONE = "account_id, service"  # an account may be renamed on the way
_UNDATED = 'account_id=~"$live.*"'
_NAMED = 'account_id=~"$named", service=~"$service"'
_FURTHEST = 'account_id=~"$furthest", service=~"$service"'
_SHOWN_SCORES = 6
_FURTHEST_SCORES = 12


def _of_days(dated: str, live: str, chosen: str) -> str:
    """One value for each account and service on each assessed day, at the start of the day; steps are one day."""
    return (
        f"(last_over_time({dated}{{{chosen}}}[1d] offset -1d)"
        f" or on ({_ONE}) max by ({PAIR}) (last_over_time({live}{{{chosen}, {_UNDATED}}}{_LIVE})) and {_THIS_DAY})"
    )


def _sum_of_days(dated: str, live: str) -> str:
    """The sum on each assessed day of what is chosen, from the sums by service where no account is."""
    return (
        f"sum(last_over_time({select(dated, 'service')}[1d] offset -1d))"
        f" or sum(max by ({_ONE}) (last_over_time({live}{{{LIVE_COST}}}{_LIVE})) and {_THIS_DAY})"
    )


# The one in force at the end of the range; a fresh exporter has shown it after the last midnight only.
_SCORE_LIMIT = 'max(last_over_time(aws_cost_anomaly_setting{setting="score"}[30d] @ end() offset -1d))'


def _end_of_band() -> str:
    """Sum over the accounts that are chosen by name; to join all pairs at each step would take half a minute."""
    usage = _of_days("aws_cost_daily_usage_usd", "aws_cost_assessed_usage_usd", _NAMED)
    expected = _of_days("aws_cost_daily_expected_usd", "aws_cost_expected_usd", _NAMED)
    score = _of_days("aws_cost_daily_deviation_score", "aws_cost_deviation_score", _NAMED)
    off = f"({usage} - on ({_ONE}) group_left () {expected})"
    reach = f"{off} / on ({_ONE}) group_left () (abs({score}) > 0) * on () group_left () {_SCORE_LIMIT}"
    # Where the usage is just what was expected, there is no side: the expectation stands for the band.
    return f"sum({expected}) + (sum({reach}) or 0 * sum({expected}))"


def _band() -> timeseries.Panel:
    return (
        daily_bars(
            "Expected against actual",
            "Usage of each assessed UTC day at amortized cost, as bars, and what was expected of it, summed over what is chosen. Where "
            "accounts are chosen by name, also the end of the expected band on the side where the usage of each service lies: choose one "
            "account and service, as a sum over many says little. The newest assessed day ended one or two days ago, at the start of a "
            "month up to five.",
            width=COLUMNS,
            height=10,
        )
        .no_value("no day that begins in this range is assessed")
        .legend(legend_below("lastNotNull"))
        .with_target(
            ranged("B", _sum_of_days("aws_cost_daily_usage", "aws_cost_assessed_usage_usd"), "Usage", "1d")
        )
        .with_target(
            ranged("C", _sum_of_days("aws_cost_daily_expected", "aws_cost_expected_usd"), "Expected", "1d")
        )
        .with_target(ranged("D", _end_of_band(), "End of the band", "1d"))
        .override_by_name("Usage", properties(color=fixed(MUTED)))
        .override_by_name("Expected", line_over_bars(NEUTRAL, points=True))
        .override_by_name("End of the band", line_over_bars(BAD, points=True))
    )


def _named() -> dashboard.QueryVariable:
    """The accounts that are chosen by name, not by their group alone."""
    return chosen_accounts(
        "named",
        "Accounts chosen by name",
        "Ids of the accounts that are chosen by name; none where all accounts, or groups alone, are chosen.",
        f'label_replace({CHOSEN_IDS}, "ids", "", "ids", "(?:$account){{13}}")',
    )


def _scores() -> timeseries.Panel:
    score = _of_days("aws_cost_daily_deviation_score", "aws_cost_deviation_score", _FURTHEST)
    dated = f"last_over_time(aws_cost_daily_deviation_score{{{_FURTHEST}}}[1d])"
    live = f"last_over_time(aws_cost_deviation_score{{{_FURTHEST}, {_UNDATED}}}[3d] @ end() offset -1d)"
    largest = (
        f"topk({_SHOWN_SCORES}, max by ({_ONE}) (max_over_time(abs({dated})[$__range:1d] @ end() offset -1d))"
        f" or max by ({_ONE}) (abs({live})))"
    )
    return (
        line_panel(
            "Score",
            f"Robust deviations from the expectation on each assessed day, of the {_SHOWN_SCORES} accounts and services that were "
            "furthest off in the range shown. Beyond the limit a finding stands, if it is large enough in dollars, too.",
            width=COLUMNS,
            height=9,
        )
        .unit("none")
        .decimals(1)
        .show_points(common_model.VisibilityMode.ALWAYS)
        .point_size(7)
        .with_target(
            ranged("A", f"{score} and on ({_ONE}) {largest}", "{{account}} {{account_id}}: {{service}}", "1d")
        )
        .with_target(ranged("B", _SCORE_LIMIT, "Limit", "1d"))
        .override_by_name("Limit", properties(color=fixed(BAD)))
    )


def _furthest() -> dashboard.QueryVariable:
    """The accounts in which the scores are that were furthest off in the range, or at its end without dated history.

    It is asked of every sample that was written, of the furthest of each account while all services are chosen: the
    chart then takes the scores that still stand, of few accounts.
    More than are drawn, as AWS may have restated the day of the furthest.
    """

    def ranked(scores: str) -> str:
        return f"topk({_FURTHEST_SCORES}, {scores})"

    written = select_by_account("aws_cost_daily_deviation_score", "aws_cost_daily_deviation_score_by_account")
    dated = f"{written}[1d$__range] @ {END} offset -1d"
    live = f"last_over_time(aws_cost_deviation_score{{{LIVE_COST}}}[3d] @ {END} offset -1d)"
    scores = (f"max_over_time({dated})", f"-min_over_time({dated})", f"abs({live})")
    return hidden_list(
        "furthest",
        "Furthest off",
        "Ids of the accounts in which usage was furthest off what was expected in the range.",
        f"group by (account_id) ({' or '.join(map(ranked, scores))})",
        r'/account_id="(\d{12})"/',
    )


_SHARES_HEIGHT = 9


def _share(title: str, description: str, spend: str, period: str) -> bargauge.Panel:
    limit = f'scope:aws_cost_threshold_usd:max{{period="{period}", {SUBJECT}}}'
    key = "scope, account_id, ou, group, group_value, service"
    panel = (
        ranking_bars(title, description, width=COLUMNS // 2, height=_SHARES_HEIGHT)
        .no_value("no thresholds")
        .unit("percentunit")
        .decimals(0)
        .color_scheme(BY_THRESHOLD)
        .thresholds(thresholds((None, GOOD), (0.9, WARNING), (1, BAD)))
        .with_target(
            instant(
                "A",
                # The threshold bears the subject's name: spend takes its place, as in the alerts.
                f"sort_desc(topk({bars_that_fit(_SHARES_HEIGHT)}, max by (scope, subject) (({limit} * 0 + on ({key}) group_left () {spend}) / {limit})))",
                "{{subject}}",
            )
        )
    )
    return collected.ACCOUNTS.in_values(panel, "thresholds")


def _days() -> bargauge.Panel:
    return _share(
        "Day against threshold",
        "What the newest settled day cost as a share of the daily threshold of each subject, the highest: the "
        "organization, its units, groups, accounts and services. The day ended one or two days ago.",
        "scope:aws_cost_assessed_day_usd:sum",
        "day",
    )


def _months() -> bargauge.Panel:
    return _share(
        "Projected month against threshold",
        "The projection of this UTC month as a share of the monthly threshold of each subject, the highest: the "
        "organization, its units, groups, accounts and services. At most six hours old.",
        "scope:aws_cost_month_projection_usd:sum",
        "month",
    )


def _limits() -> table.Panel:
    panel = (
        table_panel(
            "Thresholds",
            "Every spend threshold of the configuration as it is in force for a subject that exists, at most 100, "
            "largest first. As old as the last refresh of accounts.",
            width=COLUMNS,
            height=9,
        )
        .no_value("no thresholds")
        .with_target(
            rows(
                "A",
                f"topk(100, max by (scope, subject, period) (scope:aws_cost_threshold_usd:max{{{SUBJECT}}}))",
            )
        )
        .transformations(
            columns({"scope": "Scope", "subject": "Subject", "period": "Period", "Value #A": "Threshold"})
        )
        .sort_by([common.TableSortByFieldState().display_name("Threshold").desc(True)])
        .override_by_name("Scope", properties(custom__width=110))
        .override_by_name("Period", properties(custom__width=75))
        .override_by_name("Threshold", money_column())
    )
    return collected.ACCOUNTS.in_rows(panel, "subject")


def _aws_anomalies() -> table.Panel:
    chosen = f'{SUBJECT}, service=~"$service|"'
    impact = f"sum by ({PAIR}, monitor) (aws_cost_anomaly_detection_impact_usd{{{chosen}}})"
    panel = (
        table_panel(
            "AWS Cost Anomaly Detection",
            "What AWS's own anomalies of the last days cost more than AWS expected, the 25 largest. Monitors may find the "
            "same: the one that tells most of an account and service counts. A dash where AWS names several. Asked once a day.",
            width=COLUMNS,
            height=7,
        )
        .no_value("none")
        .with_target(rows("A", f"topk(25, max by ({PAIR}) ({impact}))"))
        .transformations(
            columns(
                {"account": "Account", "account_id": "Account id", "service": "Service", "Value #A": "Impact"}
            )
        )
        .override_by_name("Account", account_column())
        .override_by_name("Account id", account_id_column(COLUMNS))
        .override_by_name("Impact", money_column())
    )
    return collected.COST_ANOMALY_DETECTION.in_rows(panel, "service")
