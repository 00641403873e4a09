"""The whole chain on one machine: simulated AWS, exporter, Prometheus, Alertmanager, relay, Telex channel."""

import json
import os
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

from demo import configs, grafana, http, running
from demo.control import Simulator
from demo.display import Progress
from demo.processes import Child, DemoError, Processes, choose_ports
from demo.telex_channel import Message
from demo.telex_sink import TelexSink
from demo.thresholds import DailyCosts, Thresholds, choose_thresholds
from exporter.config import CONFIG_VARIABLE

HISTORY_DAYS = 450
COST_DAYS = 14
_COST_SECONDS, _ACCOUNTS_A_COST_SECOND = 3, 10
_UNITS_SECONDS, _ACCOUNTS_A_UNITS_SECOND = 30, 1
_ACCOUNTS_A_SCRAPE_SECOND = 60
_MOST_AWAITED_ACCOUNTS = 50
_LONGEST_LINE = 300  # of a log, where one line says why a server is left out
_UNREAD = re.compile(r"^Not ready: (\d+) units ", re.MULTILINE)
_ROWS = "aws_spend_exporter_ledger_rows"
_WRITTEN = "aws_spend_exporter_history_samples_written_total"


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

    def simulator_arguments(self, port: int) -> list[str]:
        return [
            *("--port", str(port)),
            *("--accounts", str(self.accounts)),
            *("--services", str(self.services)),
            *("--regions", ",".join(self.regions)),
            *("--seed", str(self.seed)),
            *("--days", str(self.days)),
            *("--groups-per-page", str(self.groups_per_page)),
        ]


def scrape_seconds(accounts: int) -> int:
    """Enough for a scrape of so many accounts."""
    return max(1, accounts // _ACCOUNTS_A_SCRAPE_SECOND)


def find_program(*names: str) -> str | None:
    """The first of the programs on the PATH, or among those that `make setup` has unpacked."""
    unpacked = Path(__file__).resolve().parent.parent / ".tools" / "usr" / "bin"
    for name in names:
        if found := shutil.which(name) or shutil.which(name, path=str(unpacked)):
            return found
    return None


def simulator_command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "simulated_aws", *arguments]


def clean_environment() -> dict[str, str]:
    """This process's environment without the settings of another's AWS or Grafana, so that a demo reaches neither."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GF_"))}
    # A proxy must not come between servers on this machine.
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


class Stack:
    """The running chain: `start` in a `Processes` context brings it up, leaving that context ends it."""

    def __init__(self, options: Options, processes: Processes, progress: Progress, sink: TelexSink) -> None:
        self.options = options
        self.sink = sink
        self._processes = processes
        self._progress = progress
        self._children: dict[str, Child] = {}
        self.grafana_problem: str | None = None
        """Why Grafana takes no part although it is on the PATH."""
        names = ["simulator", "exporter", "prometheus", "alertmanager", "relay"]
        self.urls: dict[str, str] = {}
        self._grafana = self._find_grafana() if options.grafana else None
        if self._grafana:
            names.append("grafana")
        processes.on_lost = self._lost
        self.ports = choose_ports({name: options.ports.get(name, 0) for name in names})
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.urls["telex"] = sink.url
        self.simulator = Simulator(self.urls["simulator"])
        self.today: date
        self.costs: DailyCosts
        self.thresholds: Thresholds
        self.environment_path: Path
        """Shell settings by which other commands see this demo."""

    def start(self) -> Self:
        """Brings up all servers and waits until each is ready; raises DemoError."""
        project = configs.project_folder()
        folder = self._processes.folder
        self._start_simulator()
        self._start_prometheus(project, folder)
        self._start_alertmanager(project, folder)
        environment = self._await_simulator()
        self.simulator.allow_hours()
        self.today = self.simulator.today()
        tomorrow = self.today + timedelta(days=1)
        self.costs = self.simulator.daily_costs(self.today - timedelta(days=COST_DAYS), tomorrow)
        self.thresholds = choose_thresholds(self.costs, self.today)
        config = self._write_exporter_config(folder)
        self.environment_path = folder / "environment"
        settings = environment | {CONFIG_VARIABLE: str(config)}
        self.environment_path.write_text(
            "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
            + f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n'
        )
        self._start("exporter", [sys.executable, "-m", "exporter", "run", "--config", config], environment)
        self._start("relay", [sys.executable, "-m", "exporter", "relay", "--config", config])
        if self._grafana:
            self._start_grafana(project, folder, self._grafana)
        for name, path in (
            ("prometheus", "/-/ready"),
            ("alertmanager", "/-/ready"),
            ("relay", "/-/ready"),
            ("exporter", "/-/ready" if self.options.awaits_units() else "/-/healthy"),
        ):
            self._await(name, path)
        self._await_cost()
        if self._grafana:
            self._await_grafana()
        return self

    def publish(self) -> None:
        """Lets `demo inject` find this demo."""
        self._processes.remove_at_end(running.publish(self.urls))

    def shown_urls(self) -> dict[str, str]:
        """Where a user may want to look, the most interesting first."""
        urls = {
            "Telex channel": self.urls["telex"],
            "Prometheus": self.urls["prometheus"],
            "Alerts": self.urls["prometheus"] + "/alerts",
            "Alertmanager": self.urls["alertmanager"],
            "Exporter's metrics": self.urls["exporter"] + "/metrics",
            "Simulated AWS": self.urls["simulator"] + "/_simulator/organization",
        }
        return ({"Grafana": self.urls["grafana"]} if self._grafana else {}) | urls

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The result of an instant query of Prometheus."""
        answer = http.get(self.urls["prometheus"] + "/api/v1/query", query=promql)
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def _start(
        self,
        name: str,
        argv: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        *,
        optional: bool = False,
    ) -> None:
        self._progress.starting(name)
        arguments = [str(argument) for argument in argv]
        child_environment = clean_environment() | dict(environment or {})
        self._children[name] = self._processes.start(name, arguments, child_environment, optional=optional)

    def _await(self, name: str, path: str) -> None:
        progress = self._read_so_far(name) if name == "exporter" else None
        url = self.urls[name] + path
        self._processes.wait_ready(self._children[name], url, self.options.patience, progress)
        self._progress.ready(name, self.urls[name])

    def _read_so_far(self, row: str) -> Callable[[], object]:
        """What grows, or becomes fewer, while the exporter reads; each answer is shown in a row of the progress."""

        def read() -> object:
            unread = [int(count) for count in _UNREAD.findall(http.text(self.urls["exporter"] + "/-/ready"))]
            try:
                rows, written = (
                    sum(float(each["value"][1]) for each in self.query(name)) for name in (_ROWS, _WRITTEN)
                )
            except DemoError:
                rows = written = 0.0
            self._progress.reading(row, f"{sum(unread):,} units to read, {rows:,.0f} rows of cost")
            return unread, rows, written

        return read

    def _start_simulator(self) -> None:
        self._start("simulator", simulator_command(self.options.simulator_arguments(self.ports["simulator"])))

    def _await_simulator(self) -> dict[str, str]:
        """The environment that points an AWS SDK at the simulator, from the line that says it is ready."""
        environment = self._processes.wait_until(
            "the simulated AWS is not ready",
            lambda: ready_line(self._children["simulator"]),
            self.options.patience,
        )
        self._progress.ready("simulator", self.urls["simulator"])
        return environment

    def _start_prometheus(self, project: Path, folder: Path) -> None:
        program = find_program("prometheus")
        if program is None:
            raise DemoError("prometheus is not on the PATH; `make setup` fetches it")
        rules = configs.write_rules(project / "prometheus" / "rules", folder / "rules")
        shipped = project / "prometheus" / "prometheus.yml"
        config = configs.write_yaml(
            folder / "prometheus.yml",
            configs.prometheus_config(shipped, self.ports, rules, self.options.scrape_seconds),
        )
        self._start(
            "prometheus",
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--storage.tsdb.retention.time={HISTORY_DAYS}d",
                f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
                f"--web.external-url={self.urls['prometheus']}",
                "--web.enable-remote-write-receiver",
            ],
        )

    def _start_alertmanager(self, project: Path, folder: Path) -> None:
        program = find_program("alertmanager", "prometheus-alertmanager")
        if program is None:
            raise DemoError("alertmanager is not on the PATH; `make setup` fetches it")
        shipped = project / "alertmanager" / "alertmanager.yml"
        config = configs.write_yaml(
            folder / "alertmanager.yml",
            configs.alertmanager_config(shipped, self.ports, _relay_password(folder)),
        )
        self._start(
            "alertmanager",
            [
                program,
                f"--config.file={config}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{self.ports['alertmanager']}",
                f"--web.external-url={self.urls['alertmanager']}",
                "--cluster.listen-address=",
            ],
        )

    def _write_exporter_config(self, folder: Path) -> Path:
        secret = folder / "telex-url"
        secret.touch(mode=0o600)
        secret.write_text(self.sink.webhook_url)
        units = self.options.units_seconds()
        return configs.write_yaml(
            folder / "config.yaml",
            {
                "data_dir": str(folder / "data"),
                "server": {"host": "127.0.0.1", "port": self.ports["exporter"]},
                "aws": {"region": self.options.regions[0], "endpoint_url": self.urls["simulator"]},
                "accounts": {"discovery": "organizations", "role_name": "aws-spend-exporter-member"},
                "regions": list(self.options.regions),
                # Few accounts, and dashboards that are to show each service and resource.
                "series": {"per_account": 2000},
                "collectors": {
                    # An injected spike begins some days ago: each refresh reads all of both months.
                    "cost": {"interval": f"{self.options.cost_seconds()}s", "refresh": "full"},
                    "cost_breakdowns": {
                        "enabled": True,
                        # Older days are read again once a day at most; `plan` counts each read of a month.
                        "interval": "1h",
                        "by": ["region", "usage_type", "charge_type"],
                        "tags": ["team", "environment"],
                        "cost_categories": ["CostCenter"],
                        "untagged": True,
                    },
                    "cost_hours": {"enabled": True},
                    "anomaly_causes": {"enabled": True},  # due after each read of cost
                    "commitments": {"enabled": True},
                    "savings_opportunities": {"enabled": True},
                    "budgets": {"enabled": True, "interval": "30s"},
                    "cost_anomaly_detection": {"enabled": True, "interval": "30s"},
                    "ec2_instances": {"enabled": True, "interval": f"{units}s"},
                    "ec2_running": {"enabled": True, "interval": f"{units}s"},
                    # Enough whole days for the unit costs of a week.
                    "usage": {"enabled": True, "interval": f"{2 * units}s", "first_read_days": 8},
                    "inventory": {
                        "enabled": self.options.inventory,
                        "interval": f"{2 * units}s",
                        "required_tags": ["team", "environment"],
                        "info_tags": ["team"],
                    },
                    "prices": {"enabled": self.options.inventory},
                },
                # Simulated requests cost nothing, and the demo asks every few seconds.
                "ceilings": {
                    "cost": {"day": None, "month": None},
                    "usage": {"day": None, "month": None},
                    "first_fill": None,
                },
                "thresholds": self.thresholds.as_config(),
                "history": {"write_url": f"{self.urls['prometheus']}/api/v1/write"},
                "relay": {
                    "host": "127.0.0.1",
                    "port": self.ports["relay"],
                    "state_dir": str(folder / "relay"),
                    "channels": {"default": {"url_file": str(secret)}},
                    "auth": {
                        "basic_auth": {
                            "username": "alertmanager",
                            "password_file": str(_relay_password(folder)),
                        }
                    },
                    "exporter": {"url": self.urls["exporter"]},
                    # The sink plays Telex on this machine: its address is private, and plain http.
                    "integration": {
                        "enabled": True,
                        "base_url": self.urls["relay"],
                        "return_hosts": [urlsplit(self.sink.url).netloc],
                    },
                },
            },
        )

    def _find_grafana(self) -> grafana.Installation | None:
        program = find_program("grafana", "grafana-server")
        if program is None:
            return None
        try:
            return grafana.Installation.of(program)
        except grafana.GrafanaError as error:
            self._leave_grafana_out(str(error))
            return None

    def _start_grafana(self, project: Path, folder: Path, found: grafana.Installation) -> None:
        settings = grafana.environment(
            project, folder / "grafana", self.ports["grafana"], self.urls["prometheus"]
        )
        try:
            self._start("grafana", found.command(), settings, optional=True)
        except DemoError as error:
            self._leave_grafana_out(str(error))

    def _await_grafana(self) -> None:
        url, child = self.urls["grafana"], self._children["grafana"]

        def written() -> int:
            """Grafana logs each step of its first start, of which there are hundreds."""
            return child.log.stat().st_size

        try:
            self._processes.wait_ready(child, f"{url}/api/health", self.options.patience, written)
        except DemoError as error:
            self._leave_grafana_out(str(error))
        else:
            self._progress.ready("grafana", url)

    def _lost(self, child: Child) -> None:
        """Called when a server has died that the others can do without."""
        line = child.last_lines(1).strip()[:_LONGEST_LINE]
        self._leave_grafana_out(f"{child.name} has died ({child.death()})" + (f": {line}" if line else ""))

    def _leave_grafana_out(self, reason: str) -> None:
        """Only the first reason is shown, in one line."""
        if self.grafana_problem is None:
            self.grafana_problem = reason.partition(". Its last lines:")[0]
            self._progress.left_out("grafana", self.grafana_problem)
        self._grafana = None
        self.urls.pop("grafana", None)

    def check_grafana(self) -> str | None:
        """What Grafana shows, or None where none can be started; raises DemoError if it shows anything else."""
        if self.grafana_problem is not None and "grafana" in self.ports:
            raise DemoError(self.grafana_problem)
        if self._grafana is None:
            return None
        return grafana.check(self.urls["grafana"], configs.project_folder(), self._processes.wait_until)

    def _await_cost(self) -> None:
        """Waits until cost is in Prometheus."""
        self._progress.starting("cost in Prometheus")

        def probe() -> float | None:
            try:
                # On the first of a month AWS has booked nothing of it for some hours.
                result = self.query("sum(aws_cost_month_to_date_usd) or 0 * sum(aws_cost_last_month_usd)")
            except DemoError:
                return None
            return float(result[0]["value"][1]) if result else None

        total = self._processes.wait_until(
            "no cost has reached Prometheus",
            probe,
            self.options.patience,
            self._read_so_far("cost in Prometheus"),
        )
        self._progress.ready("cost in Prometheus", f"{total:,.2f} USD this month")

    def wait(self) -> NoReturn:
        """Waits until the user ends the demo (Stopped) or a server dies (DemoError)."""
        while True:
            self._processes.check()
            self._processes.pause(0.2)

    def pause(self, seconds: float) -> None:
        """Sleeps, or less when the demo is asked to stop."""
        self._processes.pause(seconds)

    def await_message(self, account_id: str, after: int, timeout: float) -> Message:
        """The next Telex message past id `after` about the account; raises DemoError."""

        def probe() -> Message | None:
            # The organisation's own alert names accounts, too, but not their ids.
            return next((m for m in self.sink.messages[after:] if account_id in m.message), None)

        return self._processes.wait_until(f"no Telex message about {account_id}", probe, timeout)


def _relay_password(folder: Path) -> Path:
    """The file of the password between Alertmanager and the relay, made where there is none."""
    path = folder / "relay-password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path


def ready_line(child: Child) -> dict[str, str] | None:
    """The environment from the simulator's line of JSON, once it is there."""
    for line in child.last_lines(100).splitlines():
        if line.startswith("{"):
            try:
                return dict(json.loads(line)["environment"])
            except (ValueError, KeyError):
                return None
    return None
