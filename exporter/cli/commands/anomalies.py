"""`aws-spend-exporter anomalies`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from exporter.cli.commands import examples
from exporter.cli.options import account_named, ask_or_fail, asking_options, load, service_named
from exporter.cli.output import Column, Format, account_id_column, emit, money, note
from exporter.core.moments import utc_now

# Literals of `exporter.anomalies.settings`, which loads arrays; a test holds these to them.
SENSITIVITIES = ("low", "medium", "high")
KINDS = {
    "spike": "spike",
    "drop": "drop",
    "dip": "low day",
    "new_service": "new service",
    "stopped_service": "stopped service",
}


def _days(value: list[dict[str, Any]] | None) -> str:
    return ", ".join(f"{day['day'][5:]} ${day['cost_usd']:,.2f}" for day in (value or [])[:4])


def _cause(value: dict[str, Any] | None) -> str:
    grew = value["grew"][:3] if value else []
    return ", ".join(
        f"{cause['usage_type']} {cause['operation'] or ''}".strip()
        + f" ${float(cause['usd']):,.2f}"
        + (f" (largest: {cause['resources'][0]['resource']})" if cause["resources"] else "")
        for cause in grew
    )


@click.command("anomalies", epilog=examples("anomalies --days 14", "anomalies --kind new_service --json"))
@asking_options
@click.option(
    "--days",
    default=7,
    show_default=True,
    type=click.IntRange(1, 31),
    help="The last assessed days, from what is known of them now.",
)
@click.option("--sensitivity", type=click.Choice(SENSITIVITIES), help="Another than the configured one.")
@click.option("--kind", type=click.Choice(tuple(KINDS)), help="Only findings of this kind.")
@click.option("--account", help="Only this account, by id or name.")
@click.option("--service", help="Only this service, e.g. ec2.")
def command(
    config_path: Path | None,
    url: str | None,
    output: str,
    days: int,
    sensitivity: str | None,
    kind: str | None,
    account: str | None,
    service: str | None,
) -> None:
    """Cost that stands out of what is usual.

    With what was expected, and what it was compared with.
    """
    config = load(config_path)
    parameters = {
        "days": days,
        "sensitivity": sensitivity,
        "kind": kind,
        "account_id": account_named(config, url, account),
        "service": service_named(config, url, service),
    }
    found = ask_or_fail(config, "anomalies", parameters, url)
    findings = found.data["findings"]
    columns = [
        Column("day", "Day"),
        Column("account", "Account"),
        account_id_column(for_programs=True),
        Column("service", "Service"),
        Column("kind", "What", lambda kind: KINDS[kind]),
        money("cost_usd", "Cost"),
        money("expected_usd", "Expected"),
        money("lower_usd", "Usual from"),
        money("upper_usd", "to"),
        Column("score", "Deviations", lambda score: "–" if score is None else f"{score:.1f}", right=True),
        Column("same_weekdays", "Same weekdays before", _days),
        Column("cause", "What grew", _cause),
    ]
    if findings or output != Format.TABLE:
        emit(output, found.data, findings, columns)
    if output == Format.TABLE:
        assessed = found.data["assessed_day"]
        if assessed is None:
            note("No day has settled yet: nothing can be said.")
        elif not findings:
            note(f"Nothing stands out on the {len(found.data['days'])} assessed days up to {assessed}.")
        note(f"Amortized cost of usage, {found.age(utc_now())}.")
