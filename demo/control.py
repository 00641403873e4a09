"""The controls of a simulated AWS, over HTTP."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from demo import http
from demo.thresholds import WATCHED_DAYS, DailyCosts

_DELIVERY_SECONDS = 300.0  # of an export: all of its lines of this month are written
_FEES_MATTER_UNTIL = 6  # the 3rd may be the newest settled day until noon of the 6th


class Simulator:
    """A client of the control endpoints of the simulator at `url`; every method raises DemoError."""

    def __init__(self, url: str) -> None:
        self._base = f"{url}/_simulator"

    def today(self) -> date:
        """The UTC day of the simulated clock."""
        return datetime.fromisoformat(http.get(f"{self._base}/clock")["now"]).date()

    def member_names(self) -> dict[str, str]:
        """Names by id of the active accounts other than the payer, whose fees no spike multiplies."""
        organization = http.get(f"{self._base}/organization")
        return {
            account["id"]: account["name"]
            for account in organization["accounts"]
            if account["state"] == "ACTIVE" and account["id"] != organization["payer"]
        }

    def daily_costs(self, start: date, end: date) -> DailyCosts:
        """What AWS reports now for the days from `start` to before `end`."""
        answer = http.get(
            f"{self._base}/truth", start=start.isoformat(), end=end.isoformat(), by="day,account,service"
        )
        return {
            (date.fromisoformat(day), account, service): Decimal(row["amount"])
            for row in answer["totals"]
            for day, account, service in [row["keys"]]
        }

    def allow_hours(self) -> None:
        """Cost Explorer reports hours, which a payer has to enable first."""
        http.post(f"{self._base}/settings", {"hourly": True})

    def spike(self, account: str, service: str, factor: Decimal) -> Any:
        """Multiplies what a service costs; the answer names it in full."""
        body = {"account": account, "service": service, "factor": str(factor), "since": self._since()}
        return self._inject("spike", body)

    def add_service(self, account: str, service: str, daily_usd: Decimal) -> Any:
        body = {"account": account, "service": service, "daily_usd": str(daily_usd), "since": self._since()}
        return self._inject("service", body)

    def stop_service(self, account: str, service: str) -> Any:
        return self._inject("stop", {"account": account, "service": service})

    def _inject(self, kind: str, body: Any) -> Any:
        """Changes cost; a data export is delivered again, as AWS would do within eight hours."""
        done = http.post(f"{self._base}/{kind}", body)
        http.post(f"{self._base}/exports/deliver", {"force": True}, timeout=_DELIVERY_SECONDS)
        return done

    def _since(self) -> str:
        return changed_since(self.today()).isoformat()


def changed_since(today: date) -> date:
    """The first day of an injected change, early enough to change the assessed day.

    Today and yesterday are nearly empty soon after midnight. A day of the 1st to 3rd that has moved is not
    assessed before its fees have been read again; until then the last day of the month before is.
    """
    since = today - timedelta(days=WATCHED_DAYS - 1)
    if today.day <= _FEES_MATTER_UNTIL:
        since = min(since, today.replace(day=1) - timedelta(days=1))
    return since
