"""`aws-spend-exporter prices`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from exporter.cli.commands import examples
from exporter.cli.options import config_option, json_option, load


@click.command("prices", epilog=examples("prices", "prices --update prices.json --region eu-west-1"))
@config_option
@click.option(
    "--update",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Read the Pricing API, which is free, and write its prices to FILE.",
)
@click.option("--region", "regions", multiple=True, help="Only this region; may be given several times.")
@json_option
def command(config_path: Path | None, path: Path | None, regions: tuple[str, ...], as_json: bool) -> None:
    """Show where list prices are from, or make a newer table.

    Without --update it asks AWS nothing. A release puts FILE into the folder price_tables.
    """
    if path is None:
        _show(as_json=as_json)
        return
    from exporter.aws.errors import AwsError
    from exporter.cli.prices_update import changes, read_prices, write_prices
    from exporter.cli.tables import price_changes_table, progress
    from exporter.core.moments import utc_now
    from exporter.core.money import usd_text
    from exporter.inventory.prices import shipped

    config = load(config_path)
    wanted = list(dict.fromkeys(regions)) or sorted(shipped().regions)
    try:
        with progress("Reading prices by region", enabled=True) as done:
            found = read_prices(config, wanted, done)
        write_prices(path, found, utc_now().date())
    except (AwsError, OSError) as error:
        raise click.ClickException(f"nothing is written: {error}") from None
    lines = changes(found)
    if not as_json:
        price_changes_table(lines, path)
        return
    rows = [
        {
            "region": line.region,
            "rows": line.rows,
            "new": line.new,
            "changed": {
                key: {"before_usd": usd_text(before.normalize()), "usd": usd_text(now.normalize())}
                for key, (before, now) in sorted(line.changed.items())
            },
            "ambiguous": sorted(line.ambiguous),
        }
        for line in lines
    ]
    click.echo(json.dumps({"file": str(path), "regions": rows}, indent=2))


def _show(*, as_json: bool) -> None:
    from collections import Counter

    from exporter.cli.tables import price_sources_table
    from exporter.inventory.prices import shipped

    table = shipped()
    counts = Counter(row.source for row in table.rows.values())
    for region in table.regions.values():
        counts.update(source for _, source in region.rows.values())
    if as_json:
        sources = [
            {"name": source.name, "version": source.version, "date": str(source.date), "rows": count}
            for source, count in counts.most_common()
        ]
        click.echo(json.dumps({"sources": sources}, indent=2))
    else:
        price_sources_table(counts)
