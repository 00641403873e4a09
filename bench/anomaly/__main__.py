"""How good anomaly findings are, judged on classes of cost series that they were not tuned on.

python -m bench.anomaly                 six splits: tuned on one half of the classes, judged on the other
python -m bench.anomaly --quick         two small splits, in a minute
python -m bench.anomaly tune --split 4  the settings that the development part of a split chooses
python -m bench.anomaly judge --split 4 tunes, then judges on the part that is held back
python -m bench.anomaly classes         every class, with a line of text
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.anomaly.judging import Whole, together
from bench.anomaly.markdown import write
from bench.anomaly.registry import classes
from bench.anomaly.report import as_json, print_report
from bench.anomaly.run import FULL, QUICK, hold_back, splits, tune, workers
from bench.anomaly.split import split
from bench.anomaly.tuning import Chosen


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 190)


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "json_", is_flag=True, help="Print JSON."),
        click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes."),
        click.option("--quick", is_flag=True, help="Few and small organizations."),
        click.option(
            "--seed", type=int, help="Of everything that is drawn; printed, and drawn if not given."
        ),
    ):
        command = option(command)
    return command


def _seed(given: int | None) -> int:
    return random.SystemRandom().randrange(1, 10**6) if given is None else given


@click.group(invoke_without_command=True)
@click.option(
    "--splits",
    "count",
    default=6,
    show_default=True,
    help="An even number holds each class back equally often.",
)
@click.option(
    "--write",
    "written",
    type=click.Path(exists=True, path_type=Path),
    help="Put the figures into this Markdown file.",
)
@_common
@click.pass_context
def main(
    ctx: click.Context,
    count: int,
    written: Path | None,
    seed: int | None,
    quick: bool,
    jobs: int,
    json_: bool,
) -> None:
    """Tune and judge on several splits of the classes."""
    if ctx.invoked_subcommand is not None:
        return
    drawn = _seed(seed)
    size, count = (QUICK, 2) if quick else (FULL, count)
    parts = []
    with workers(jobs, _progress) as run:
        for number, of in enumerate(splits(drawn, count), start=1):
            _progress(f"split {of.seed} ({number} of {count})")
            parts.append(hold_back(drawn, of, size, run, tune(drawn, of, size, run)))
    whole = together(parts)
    if written is not None:
        write(written, whole, drawn)
    _print(whole, drawn, json_)


def _print(whole: Whole, seed: int, json_: bool) -> None:
    if json_:
        click.echo(json.dumps(as_json(whole, seed)))
    else:
        print_report(whole, seed, _console())


@main.command("tune")
@click.option("--split", "split_seed", type=int, required=True, help="Seed of the split of the classes.")
@click.option(
    "--save", type=click.Path(path_type=Path), help="Write the settings here, for `judge --settings`."
)
@_common
def tune_command(
    split_seed: int, save: Path | None, seed: int | None, quick: bool, jobs: int, json_: bool
) -> None:
    """Choose the settings of every method on the development classes of a split."""
    of, drawn = split(split_seed, classes()), _seed(seed)
    with workers(jobs, _progress) as run:
        chosen = tune(drawn, of, QUICK if quick else FULL, run)
    if save is not None:
        save.write_text(
            json.dumps({"split": split_seed, "ours": dict(chosen.ours), "others": dict(chosen.others)})
        )
    if json_:
        click.echo(json.dumps({"split": split_seed, "seed": drawn, "chosen": chosen.as_json()}))
        return
    console = _console()
    console.print(f"split {of.seed}, seed {drawn}")
    console.print(f"development: {', '.join(of.development)}")
    console.print(f"held back: {', '.join(of.held_back)}")
    console.print(chosen.as_json())


@main.command("judge")
@click.option("--split", "split_seed", type=int, required=True, help="Seed of the split of the classes.")
@click.option(
    "--settings",
    type=click.Path(exists=True, path_type=Path),
    help="What `tune --save` wrote for this split.",
)
@_common
def judge_command(
    split_seed: int, settings: Path | None, seed: int | None, quick: bool, jobs: int, json_: bool
) -> None:
    """Judge on the held-back classes of a split, in fresh organizations; tune first if no settings are given."""
    of, drawn, size = split(split_seed, classes()), _seed(seed), QUICK if quick else FULL
    with workers(jobs, _progress) as run:
        chosen = tune(drawn, of, size, run) if settings is None else _read(settings, split_seed)
        judged = hold_back(drawn, of, size, run, chosen)
    _print(together([judged]), drawn, json_)


def _read(settings: Path, split_seed: int) -> Chosen:
    found = json.loads(settings.read_text())
    if found["split"] != split_seed:
        raise click.ClickException(f"these settings were chosen on split {found['split']}")
    return Chosen(found["ours"], {name: (variant, at) for name, (variant, at) in found["others"].items()})


@main.command("classes")
def classes_command() -> None:
    """List every class by subject."""
    for each in classes().values():
        click.echo(f"{each.subject:10} {each.name:30} {each.text}")


if __name__ == "__main__":
    main()
