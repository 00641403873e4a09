"""The whole chain on one machine: simulated AWS, exporter, Prometheus, Alertmanager, relay, Telex channel."""

import json
import os
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

from demo import configs, grafana, http, running
from demo.control import Simulator
from demo.display import Progress
from demo.exporter_config import Places, exporter_config
from demo.options import Options
from demo.processes import Child, DemoError, Processes, choose_ports
from demo.telex_channel import Message
from demo.telex_sink import TelexSink
from demo.thresholds import DailyCosts, Thresholds, choose_thresholds
from exporter.config import CONFIG_VARIABLE

HISTORY_DAYS = 450
COST_DAYS = 14
_LONGEST_LINE = 300  # of a log, where one line says why a server is left out
_UNREAD = re.compile(r"^Not ready: (\d+) units ", re.MULTILINE)
_ROWS = "aws_spend_exporter_ledger_rows"
_WRITTEN = "aws_spend_exporter_history_samples_written_total"
# On the first of a month AWS has booked nothing of it for some hours.
_COST = "sum(aws_cost_month_to_date_usd) or 0 * sum(aws_cost_last_month_usd)"
# A month that is delivered again is read after all those that were not read yet.
_COST_EXPORTED = (
    f"({_COST}) and on () group(aws_spend_exporter_collector_last_success_timestamp_seconds"
    '{collector="cost_export"})'
)


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
        self._relay_password_file = _secret(folder / "relay-password", secrets.token_urlsafe(24))
        self._start_simulator()
        self._start_prometheus(project, folder)
        self._start_alertmanager(project, folder)
        environment = self._await_simulator()
        if not self.options.is_exported:
            self.simulator.allow_hours()
        self.today = self.simulator.today()
        tomorrow = self.today + timedelta(days=1)
        self.costs = self.simulator.daily_costs(self.today - timedelta(days=COST_DAYS), tomorrow)
        self.thresholds = choose_thresholds(self.costs, self.today)
        config = configs.write_yaml(
            folder / "config.yaml", exporter_config(self.options, self.thresholds, self._places(folder))
        )
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
            configs.alertmanager_config(shipped, self.ports, self._relay_password_file),
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

    def _places(self, folder: Path) -> Places:
        """Where the servers and their files are; the secrets are written."""
        return Places(
            folder=folder,
            ports=self.ports,
            urls=self.urls,
            telex_url_file=_secret(folder / "telex-url", self.sink.webhook_url),
            relay_password_file=self._relay_password_file,
            telex_host=urlsplit(self.sink.url).netloc,
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
        """Waits until cost is in Prometheus; of an export, all of it."""
        self._progress.starting("cost in Prometheus")

        def probe() -> float | None:
            try:
                result = self.query(_COST_EXPORTED if self.options.is_exported else _COST)
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


def _secret(path: Path, text: str) -> Path:
    """A file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(text)
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
