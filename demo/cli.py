"""`aws-spend-exporter demo`: the whole chain on one machine, without an AWS account."""

import json
import shutil
import signal
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import click
from rich.console import Console

from demo import http, running
from demo.control import Simulator
from demo.display import Progress, printable, show_message, show_where
from demo.options import COST_SOURCES, Options, scrape_seconds
from demo.processes import DemoError, Processes, Stopped, choose_ports
from demo.stack import Stack, clean_environment, ready_line, simulator_command
from demo.telex_channel import Message
from demo.telex_sink import TelexSink
from demo.thresholds import factor_needed

CHECK_SECONDS = 120.0
SPIKE_FACTOR = Decimal(3)
GOLDEN = 0.618  # its multiples fall evenly between 0 and 1
_SERVERS = ("simulator", "exporter", "prometheus", "alertmanager", "relay", "telex", "grafana")

Command = Callable[..., Any]


def _organization_options(command: Command) -> Command:
    options = [
        click.option("--accounts", default=6, show_default=True, type=click.IntRange(1), help="Accounts."),
        click.option("--services", default=8, show_default=True, type=click.IntRange(1), help="Services."),
        click.option(
            "--regions", default="us-east-1,eu-west-1", show_default=True, help="Regions, comma-separated."
        ),
        click.option("--seed", default=1, show_default=True, help="Equal seeds make equal organisations."),
        click.option("--days", default=400, show_default=True, type=click.IntRange(1), help="Days of cost."),
        click.option(
            "--groups-per-page",
            default=1000,
            show_default=True,
            type=click.IntRange(1),
            help="Page size of Cost Explorer.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _port_options(command: Command) -> Command:
    for server in reversed(_SERVERS):
        command = click.option(
            f"--{server}-port",
            default=0,
            type=click.IntRange(0, 65535),
            help=f"Port of {server}; 0: a free one.",
        )(command)
    return command


@click.group("demo", invoke_without_command=True)
@_organization_options
@_port_options
@click.option("--grafana/--no-grafana", default=True, help="Start Grafana when it is on the PATH.")
@click.option(
    "--cost-source",
    default="cost_explorer",
    show_default=True,
    type=click.Choice(COST_SOURCES),
    help="Where the exporter reads cost; data_export: the organization delivers one.",
)
@click.option(
    "--inventory/--no-inventory",
    default=True,
    help="List what the accounts own; it follows some seconds later.",
)
@click.option(
    "--check", is_flag=True, help="Unattended: inject a spike, await its Telex message, exit 0 or 1."
)
@click.option(
    "--repeat",
    default=1,
    show_default=True,
    type=click.IntRange(1, 50),
    help="With --check: how many spikes, each in another account; prints the median as well.",
)
@click.option("--json", "as_json", is_flag=True, help="With --check: print the result as JSON.")
@click.option(
    "--timeout",
    default=CHECK_SECONDS,
    show_default=True,
    help="With --check: seconds from a spike to its message. The start may take as long as it makes progress.",
)
@click.pass_context
def demo(context: click.Context, /, **flags: Any) -> None:
    """Run the whole chain on simulated AWS.

    Exporter, Prometheus, Alertmanager, relay and a Telex channel.
    """
    if context.invoked_subcommand is not None:
        return
    if (flags["repeat"] > 1 or flags["as_json"]) and not flags["check"]:
        raise click.UsageError("--repeat and --json belong to --check")
    # Each repetition needs an account whose alert is not firing yet.
    accounts = max(flags["accounts"], flags["repeat"] + 3 if flags["check"] else 0)
    options = Options(
        accounts=accounts,
        services=flags["services"],
        regions=tuple(filter(None, flags["regions"].split(","))),
        seed=flags["seed"],
        days=flags["days"],
        groups_per_page=flags["groups_per_page"],
        grafana=flags["grafana"],
        inventory=flags["inventory"] and not flags["check"],
        cost_source=flags["cost_source"],
        ports={server: flags[f"{server}_port"] for server in _SERVERS},
        scrape_seconds=scrape_seconds(accounts),
    )
    try:
        if flags["check"]:
            check(options, repeat=flags["repeat"], as_json=flags["as_json"], timeout=flags["timeout"])
        else:
            run(options)
    except DemoError as error:
        fail(error, as_json=flags["as_json"])


def fail(error: DemoError, *, as_json: bool = False) -> None:
    if as_json:
        click.echo(json.dumps({"ok": False, "error": str(error)}))
    click.echo(f"demo: {error}", err=True)
    sys.exit(1)


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set, so that nothing is ever interrupted half-way."""
    stop = Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def running_stack(
    options: Options, console: Console, on_message: Callable[[Message], None] | None = None
) -> Iterator[Stack]:
    """The chain, up and ready; all of it is gone when the context ends."""
    telex_port = choose_ports({"telex": options.ports.get("telex", 0)})["telex"]
    with (
        stop_on_signals() as stop,
        TelexSink(telex_port, on_message=on_message) as sink,
        Processes(stop) as processes,
    ):
        with Progress(console) as progress:
            stack = Stack(options, processes, progress, sink).start()
        yield stack


def run(options: Options) -> None:
    """Runs until Ctrl-C, SIGTERM or the death of a server."""
    console = Console()
    try:
        with running_stack(options, console, lambda message: show_message(console, message)) as stack:
            stack.publish()
            urls = stack.shown_urls()
            show_where(console, urls)
            if options.grafana and "Grafana" not in urls and stack.grafana_problem is None:
                console.print(
                    "Grafana is not on the PATH; with Docker, `docker compose --profile demo up` shows the dashboards.\n"
                )
            console.print("Other commands, such as `costs`, `accounts` and `doctor`, see this demo after:")
            console.print(f"  . {stack.environment_path}", markup=False, highlight=False, soft_wrap=True)
            console.print("Telex messages appear below. Let one come, from another terminal:")
            suggested = possible_spikes(stack)
            suggested.sort(key=lambda spike: (spike.account != "prod", spike.factor))
            for spike in suggested[:1]:
                console.print(f"  {spike.command()}", markup=False, highlight=False, soft_wrap=True)
            console.print("Ctrl-C ends the demo and leaves nothing behind.\n")
            stack.wait()
    except Stopped:
        console.print("\nThe demo has ended.")  # on a new line, after ^C
    finally:
        running.tidy()


def check(options: Options, *, repeat: int, as_json: bool, timeout: float) -> None:
    """Starts the chain, spikes `repeat` accounts one after the other, and measures until each message."""
    console = Console(stderr=True)
    began = monotonic()
    seconds: list[float] = []
    shown: str | None = None
    try:
        with running_stack(options, console) as stack:
            started = monotonic() - began
            if stack.sink.messages:
                raise DemoError(f"a message came before any spike: {stack.sink.messages[0].message}")
            if (shown := stack.check_grafana()) is not None:
                console.print(f"Grafana: {shown}", markup=False, highlight=False, soft_wrap=True)
            spikes = possible_spikes(stack)[:repeat]
            if len(spikes) < repeat:
                raise DemoError(
                    f"{repeat} accounts are to be spiked, and {len(spikes)} would pass a threshold"
                )
            for number, spike in enumerate(spikes):
                # A message falls right after a read of Cost Explorer: wait for another phase each time.
                stack.pause(options.cost_seconds() * (number * GOLDEN % 1))
                after = len(stack.sink.messages)
                injected = monotonic()
                stack.simulator.spike(spike.account_id, spike.service, spike.factor)
                message = stack.await_message(spike.account_id, after, timeout)
                seconds.append(monotonic() - injected)
                if not as_json:
                    first = printable(message.message.splitlines()[0])
                    line = f"{spike.account}, {spike.service}: {first}"
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                    click.echo(f"spike to Telex message: {seconds[-1]:.1f} s")
    except Stopped:
        raise DemoError("interrupted") from None
    median = statistics.median(seconds)
    if as_json:
        result = {"ok": True, "seconds": [round(s, 2) for s in seconds], "median": round(median, 2)}
        click.echo(json.dumps(result | {"start_seconds": round(started, 2), "grafana": shown}))
    elif repeat > 1:
        click.echo(f"median of {repeat}: {median:.1f} s")


@dataclass(frozen=True, slots=True)
class Spike:
    """A spike that lets its account pass its threshold."""

    factor: Decimal
    account_id: str
    account: str
    service: str

    def command(self) -> str:
        """What to type for it."""
        return (
            f"{this_program()} demo inject spike --account {self.account} "
            f'--service "{self.service}" --factor {self.factor}'
        )


def this_program() -> str:
    """How this program was called, so that what the demo suggests can be typed as it is."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{sys.executable} -m exporter"
    if shutil.which(called.name) == str(called.absolute()):
        return called.name
    return str(called)


def possible_spikes(stack: Stack) -> list[Spike]:
    """One for each member account that can be spiked over its threshold, the smallest factor first."""
    best: dict[str, tuple[Decimal, str]] = {}
    names = stack.simulator.member_names()
    for account, service in {(account, service) for _, account, service in stack.costs}:
        limit = stack.thresholds.accounts[account]
        factor = factor_needed(stack.costs, limit, account, service, stack.today)
        if account in names and factor is not None:
            found = (max(factor, SPIKE_FACTOR), service)
            best[account] = min(best.get(account, found), found)
    return sorted(
        (Spike(factor, account, names[account], service) for account, (factor, service) in best.items()),
        key=lambda spike: (spike.factor, spike.account_id),
    )


@demo.group()
def inject() -> None:
    """Change what the running demo's organisation costs."""


def _inject(change: Callable[[Simulator], Any]) -> None:
    try:
        done = change(Simulator(running.find()["simulator"]))
    except DemoError as error:
        fail(error)
    else:
        click.echo(f"Changed since {done['first']}: {done['service']} in account {done['account']}")


_account = click.option("--account", required=True, help="Name or id of the account.")
_service = click.option("--service", required=True, help='A service, as in "Amazon EC2" or "lambda".')


@inject.command("spike")
@_account
@_service
@click.option(
    "--factor",
    default=3,
    show_default=True,
    type=click.FloatRange(0, 1000),
    help="What the cost is multiplied by.",
)
def inject_spike(account: str, service: str, factor: float) -> None:
    """Let a service cost a multiple of what it did."""
    _inject(lambda simulator: simulator.spike(account, service, Decimal(str(factor))))


@inject.command("new-service")
@_account
@_service
@click.option(
    "--daily-usd", default=500, show_default=True, type=click.FloatRange(0), help="What it costs a day."
)
def new_service(account: str, service: str, daily_usd: float) -> None:
    """Let an account begin to use a service."""
    _inject(lambda simulator: simulator.add_service(account, service, Decimal(str(daily_usd))))


@inject.command("stopped-service")
@_account
@_service
def stopped_service(account: str, service: str) -> None:
    """Let a service cost nothing any more."""
    _inject(lambda simulator: simulator.stop_service(account, service))


@demo.command()
@click.option(
    "--threshold", default="100", show_default=True, help="US dollars, as a user of Telex enters it."
)
@click.option(
    "--frequency",
    default="Daily",
    show_default=True,
    type=click.Choice(["Daily", "Monthly"]),
    help="Yesterday, or the last calendar month.",
)
@click.option("--key-id", default="", help="aws_access_key_id; without it, the whole organisation.")
@click.option("--secret-key", default="", help="aws_secret_access_key.")
def tick(threshold: str, frequency: str, key_id: str, secret_key: str) -> None:
    """Let Telex ask the running demo: install the integration, set it, tick; the answer is a Telex message."""
    settings = {
        "threshold": threshold,
        "frequency": frequency,
        "aws_access_key_id": key_id,
        "aws_secret_access_key": secret_key,
    }
    try:
        urls = running.find()
        telex = urls["telex"]
        seen = len(http.get(f"{telex}/messages.json"))
        http.post(f"{telex}/_sink/install", {"url": f"{urls['relay']}/integration"})
        http.post(f"{telex}/_sink/settings", settings)
        http.post(f"{telex}/_sink/tick", {})
        found = http.get(f"{telex}/messages.json", after=str(seen), wait="9")
    except DemoError as error:
        fail(error)
    else:
        if not found:
            fail(DemoError("no answer has come yet; it appears in the channel"))
        click.echo(printable(found[-1]["message"]))


@demo.command()
@_organization_options
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="0: a free one.")
def simulator(port: int, regions: str, **flags: Any) -> None:
    """Run only the simulated AWS, and print what to export to use it."""
    options = Options(regions=tuple(filter(None, regions.split(","))), **flags)
    try:
        with stop_on_signals() as stop, Processes(stop) as processes:
            port = choose_ports({"simulator": port})["simulator"]
            child = processes.start(
                "simulator", simulator_command(options.simulator_arguments(port)), clean_environment()
            )
            environment = processes.wait_until(
                "the simulated AWS is not ready", lambda: ready_line(child), 30
            )
            for name, value in environment.items():
                click.echo(f"export {name}={value}")
            click.echo(f"# Simulated AWS on http://127.0.0.1:{port}; Ctrl-C ends it.")
            while True:
                processes.check()
                stop.wait(0.2)
    except Stopped:
        pass
    except DemoError as error:
        fail(error)
