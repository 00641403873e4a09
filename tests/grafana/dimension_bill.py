"""Lines of a bill, and the families that they are written as: cost by account, service and each of some dimensions."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

DAY = 86_400
DAYS = 430
NOW = time.time()
MIDNIGHT = int(NOW) // DAY * DAY
TODAY = datetime.fromtimestamp(MIDNIGHT, UTC).date()
NEWEST_WRITTEN = 2  # days ago
ENV_SINCE = 45  # days ago: a tag key that is read since

# Days ago of the first and the last day with cost.
ACCOUNTS = {"100000000000": (DAYS, 0), "100000000001": (DAYS, 0), "100000000002": (DAYS, 150)}
NAMES = {"100000000000": "twin", "100000000001": "twin", "100000000002": "gone"}
UNITS = {"100000000000": "/Prod", "100000000001": "/Dev"}  # the third has none
SERVICES = "Amazon (a|b) [c]+", "AWS Lambda", "Amazon EC2"
REGIONS = "eu-west-1", "us-east-1", "NoRegion"
USAGE_TYPES = (
    *(f"EUW1-BoxUsage:m{n}.large" for n in range(11)),
    "EUW1-DataTransfer-Out-Bytes",
    "NatGateway-Hours",
    "USE1-USW2-AWS-Out-Bytes",
    "DataProcessing-Bytes",  # what is read from logs moves nowhere
    "TimedStorage-ByteHrs",
)
TRANSFER = {USAGE_TYPES[11], USAGE_TYPES[12], USAGE_TYPES[13]}
COLLECTORS = "cost", "cost_breakdowns"


@dataclass(frozen=True)
class Line:
    """One kind of line of an account's bill, with its label of each family."""

    number: int
    account: str

    @property
    def labels(self) -> dict[str, str]:
        n = self.number
        # A tag key and a cost category share a name, and none of their values.
        return {
            "account_id": self.account,
            "service": SERVICES[n % 3],
            "region": REGIONS[n % 2 if n != 15 else 2],
            "usage_type": USAGE_TYPES[n],
            "team": "" if n in (4, 15) else f"team {n}",
            "env": ("", "prod", "test")[n % 3],
            "category": ("", "Shop", "Platform")[n // 6],
        }

    def usd(self, ago: int) -> float:
        """In eighths of a dollar, so that sums are exact; another leads in each half of the history."""
        first, last = ACCOUNTS[self.account]
        if not first >= ago >= last or (self.number == 3 and ago > 35):
            return 0.0
        lead = self.number if ago > 200 else 16 - self.number
        return 2.0 * lead + int(self.account[-1]) + 0.125 * (ago % 7)


LINES = [Line(number, account) for account in ACCOUNTS for number in range(16)]

Key = tuple[str, ...]
FAMILIES: dict[str, tuple[tuple[str, ...], str]] = {
    "aws_cost_daily_usd": (("account_id", "service"), ""),
    "aws_cost_daily_by_account_usd": (("account_id",), ""),
    "aws_cost_daily_by_service_usd": (("service",), ""),
    "aws_cost_daily_by_region_usd": (("account_id", "region"), ""),
    "aws_cost_daily_by_usage_type_usd": (("account_id", "usage_type"), ""),
    "aws_cost_daily_by_tag_usd": (("account_id", "team"), 'tag_key="team"'),
    "aws_cost_daily_by_cost_category_usd": (("account_id", "category"), 'cost_category="team"'),
    "aws_cost_daily_taggable_usd": (("account_id",), ""),
}
RENAMED = {"team": "tag_value", "env": "tag_value", "category": "cost_category_value"}


def day(ago: int) -> date:
    return TODAY - timedelta(days=ago)


def label_text(names: tuple[str, ...], key: Key, fixed: str) -> str:
    """Labels as they are written: an empty one is left out."""
    pairs = [f'{RENAMED.get(name, name)}="{value}"' for name, value in zip(names, key, strict=True) if value]
    pairs += [f'account="{NAMES[key[0]]}"'] if names[0] == "account_id" else []
    return "{" + ",".join([*pairs, fixed] if fixed else pairs) + "}"


def openmetrics() -> str:
    """Each family at noon, with a restatement on some days, and one scrape of now."""
    lines: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def write(family: str, labels: str, ago: int, value: float) -> None:
        noon = MIDNIGHT - ago * DAY + DAY // 2
        if ago % 9 == 0:
            lines[family][labels].append(f"{family}{labels} {value + 99} {noon}.060")
        lines[family][labels].append(f"{family}{labels} {value} {noon}.900")

    def sums(family: str, names: tuple[str, ...], fixed: str, ago: int, of: Callable[[Line], bool]) -> None:
        found: dict[Key, float] = defaultdict(float)
        for line in LINES:
            if of(line) and (usd := line.usd(ago)):
                found[tuple(line.labels[name] for name in names)] += usd
        for key, usd in found.items():
            write(family, label_text(names, key, fixed), ago, usd)

    for ago in range(DAYS, NEWEST_WRITTEN - 1, -1):
        for family, (names, fixed) in FAMILIES.items():
            sums(family, names, fixed, ago, lambda line: True)
        if ago <= ENV_SINCE:
            names = ("account_id", "env")
            sums("aws_cost_daily_by_tag_usd", names, 'tag_key="env"', ago, lambda line: True)
        sums(
            "aws_cost_daily_untagged_usd",
            ("account_id",),
            'tag_key="team"',
            ago,
            lambda line: line.number == 4,
        )
        write("aws_cost_daily_non_usage_known", "", ago, 1)
        for account, unit in UNITS.items():
            labels = f'{{account_id="{account}",account="twin",ou="{unit}",state="ACTIVE"}}'
            write("aws_account_info", labels, ago, 1)
    text = []
    for family, series in lines.items():
        text.append(f"# TYPE {family} gauge")
        text += [line for each in series.values() for line in each]
    text.append("# TYPE aws_spend_exporter_collector_errors_total counter")
    for name in COLLECTORS:
        text.append(f'aws_spend_exporter_collector_errors_total{{collector="{name}"}} 0 {int(NOW)}')
    return "\n".join([*text, *hours(), "# EOF", ""])


def hours() -> Iterator[str]:
    """Cost of each hour of the day before yesterday, at its middle."""
    yield "# TYPE aws_cost_hourly_usd gauge"
    for hour in range(24):
        at = MIDNIGHT - 2 * DAY + 3600 * hour + 1800
        labels = '{account_id="100000000000",account="twin",service="AWS Lambda"}'
        yield f"aws_cost_hourly_usd{labels} {1 + hour} {at}.030"
