"""From an Alertmanager notification to the text of messages: rendering and splitting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from exporter.relay.alertmanager import Alert, Notification
from exporter.relay.neutral import Neutral, link, neutralise
from exporter.relay.templating import Templates

MAX_TITLE_CHARS = 120
RUNBOOK_PATH = "docs/runbook.md"  # what alerts' relative runbook_url starts with
_GO_ZERO = datetime(1, 1, 1, tzinfo=UTC)
_FIRST_TRIED = 64
_MAX_AMOUNT_CHARS = 64
_LARGEST_EXPONENT = 15
_SMALLEST_EXPONENT = -30  # below what any price has, above what floats that should be 0 are


@dataclass(frozen=True)
class Links:
    """Where messages link to; None leaves a link out or as the alert gives it."""

    dashboard_url: str | None = None
    runbook_url: str | None = None


@dataclass(frozen=True)
class Message:
    """One notification as messages: the parts share title and status."""

    title: str
    status: Literal["error", "success"]
    parts: tuple[str, ...]


def render(
    notification: Notification, links: Links, max_bytes: int, max_parts: int, templates: Templates
) -> Message:
    """Render one notification; alerts that do not fit into `max_parts` are counted in the last part.

    As many are listed as fit. What is tried for that is in proportion to what fits, not to what there is.
    """
    written = templates.renderer("alert")
    content = _Content(notification, links)

    def parts(shown: int) -> list[str]:
        return split(written(content.values(shown)), max_bytes)

    def fits(found: list[str]) -> bool:
        return len(found) <= max_parts

    total = len(notification.alerts)
    fitting, too_many, best = 0, total + 1, None
    step = min(total, _FIRST_TRIED)
    while too_many - fitting > 1:
        found = parts(step)
        if fits(found):
            fitting, best = step, found
        else:
            too_many = step
        # Doubled until it is too much, or all; then halved in between.
        step = min(total, 2 * fitting) if too_many > total else (fitting + too_many) // 2
    return Message(
        title=content.title,
        status="error" if notification.status == "firing" else "success",
        parts=tuple((best if best is not None else parts(0))[:max_parts]),
    )


class Texts(dict[str, str]):
    """Labels or annotations; one that an alert does not have is empty."""

    def __missing__(self, key: str) -> str:
        return ""


@dataclass(frozen=True)
class AlertFacts:
    """One alert as a template sees it."""

    status: str
    severity: str
    about: str
    """What kind of thing `subject` is: `Account` or `Subject`."""
    subject: str
    """The account's name and id, or what the alert is about instead; may be empty."""
    period: str
    spend: Decimal | None
    threshold: Decimal | None
    ratio: Decimal | None
    """Spend by threshold, where both are known."""
    spend_text: Neutral
    """What the alert gives as spend where that is no amount; else empty."""
    threshold_text: Neutral
    """The same for the threshold."""
    since: datetime | str
    """A moment that no datetime holds is as the alert gives it."""
    until: datetime | None
    """When it was resolved."""
    texts: tuple[str, ...]
    """Summary and description, or the labels of an alert that has neither."""
    links: tuple[Neutral, ...]
    """Lines with links that are not those of every alert of the message."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class _Content:
    """A notification for templates: each alert is made ready once, and only if it may be listed."""

    def __init__(self, notification: Notification, links: Links) -> None:
        self._notification = notification
        self._links = links
        self._alerts = sorted(notification.alerts, key=_urgency)
        self._firing = sum(alert.status == "firing" for alert in notification.alerts)
        self._ready: list[tuple[AlertFacts, list[Neutral]]] = []
        self.title = _title(notification)

    def values(self, shown: int) -> dict[str, Any]:
        """What the alert template can use, for the `shown` most urgent alerts."""
        notification = self._notification
        for alert in self._alerts[len(self._ready) : shown]:
            self._ready.append((_facts(alert), _link_lines(alert, notification, self._links)))
        ready = self._ready[:shown]
        common = [line for line in ready[0][1] if all(line in lines for _, lines in ready)] if ready else []
        return {
            "title": self.title,
            "status": notification.status,
            "alerts": [
                replace(facts, links=tuple(line for line in lines if line not in common))
                for facts, lines in ready
            ],
            "total": len(notification.alerts),
            "firing": self._firing,
            "resolved": len(notification.alerts) - self._firing,
            "unlisted": notification.truncatedAlerts + len(notification.alerts) - shown,
            "links": common,
            "group_labels": Texts(notification.groupLabels),
        }


def values(notification: Notification, links: Links, shown: int) -> dict[str, Any]:
    """What the alert template can use, for the `shown` most urgent alerts."""
    return _Content(notification, links).values(shown)


def samples(links: Links) -> list[dict[str, Any]]:
    """Notifications of every kind, to try a template on."""
    at = datetime(2026, 1, 5, 14, 2, tzinfo=UTC)
    spend = Alert(
        status="firing",
        labels={"alertname": "Spend", "account": "prod", "account_id": "111111111111", "severity": "warning"},
        annotations={
            "title": "Spend",
            "spend": "1532.20",
            "threshold": "1000",
            "period": "day",
            "description": "x",
        },
        startsAt=at,
    )
    resolved = spend.model_copy(update={"status": "resolved", "endsAt": at.replace(hour=15)})
    bare = Alert(status="firing", startsAt=at)
    tried = [
        values(
            Notification(
                version="4", groupKey="x", status=alerts[0].status, alerts=alerts,
                truncatedAlerts=truncated, externalURL=url,
            ),
            links,
            len(alerts),
        )
        for alerts, truncated, url in (
            ([spend], 0, ""),
            ([resolved], 0, ""),
            ([bare], 0, ""),
            ([spend, resolved, bare], 3, "http://am.example"),
        )
    ]  # fmt: skip
    # So long that none of its alerts fits into `max_parts`.
    return [
        *tried,
        values(Notification(version="4", groupKey="x", status="firing", alerts=[spend]), links, 0),
    ]


def _urgency(alert: Alert) -> tuple[str, Decimal]:
    """Firing before resolved, then the highest spend first."""
    return alert.status, -(_amount(alert.annotations.get("spend", "")) or Decimal(0))


def _title(notification: Notification) -> str:
    annotations, labels = notification.commonAnnotations, notification.commonLabels
    title = annotations.get("title") or labels.get("alertname") or ""
    if not title:
        titles = {
            alert.annotations.get("title") or alert.labels.get("alertname", "")
            for alert in notification.alerts
        }
        title = ", ".join(sorted(filter(None, titles)))
    return neutralise(title, MAX_TITLE_CHARS) or "Alert"


def _facts(alert: Alert) -> AlertFacts:
    fields = {**alert.labels, **{key: value for key, value in alert.annotations.items() if value}}
    about, subject = _subject(fields)
    spend, threshold = _amount(fields.get("spend", "")), _amount(fields.get("threshold", ""))
    # Beside spend and threshold the summary would say the same a second time.
    texts = ["description"] if spend is not None else ["summary", "description"]
    said = [_grouped(text) for key in texts if (text := neutralise(fields.get(key, "")))]
    if spend is None and not said:
        said = [
            Neutral(f"{neutralise(key, 100)}: {neutralise(value)}")
            for key, value in sorted(alert.labels.items())
            if key not in {"alertname", "severity", "account", "account_id"}
        ]
    return AlertFacts(
        status=alert.status,
        severity=neutralise(fields.get("severity", ""), 40),
        about=about,
        subject=subject,
        period=fields.get("period", ""),
        spend=spend,
        threshold=threshold,
        ratio=spend / threshold if spend is not None and threshold is not None and threshold > 0 else None,
        spend_text=_no_amount(fields.get("spend", ""), spend),
        threshold_text=_no_amount(fields.get("threshold", ""), threshold),
        since=alert.startsAt,
        until=_until(alert),
        texts=tuple(said),
        links=(),
        labels=Texts(alert.labels),
        annotations=Texts(alert.annotations),
    )


def _subject(fields: dict[str, str]) -> tuple[str, Neutral]:
    scope, subject = fields.get("scope", ""), neutralise(fields.get("subject", ""))
    if scope == "organization":
        return "Account", Neutral("all accounts of the organization")
    name, account_id = neutralise(fields.get("account", "")), neutralise(fields.get("account_id", ""))
    # OUs, groups and services have no account, and a service of an account is not the whole of it.
    if subject and (scope == "account_service" or not (name or account_id)):
        return "Subject", subject
    if account_id and name and name != account_id:
        return "Account", Neutral(f"{name} ({account_id})")
    return "Account", account_id or name


def _until(alert: Alert) -> datetime | None:
    if alert.status != "resolved" or not isinstance(alert.endsAt, datetime):
        return None
    # Go's zero moment, of the year 1, stands for none.
    start = alert.startsAt if isinstance(alert.startsAt, datetime) else _GO_ZERO
    return alert.endsAt if alert.endsAt > start else None


def _amount(text: str) -> Decimal | None:
    """An amount that can be calculated with and printed in a line; None for any other text."""
    if len(text) > _MAX_AMOUNT_CHARS:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    if not amount.is_finite():
        return None
    if amount.is_zero():
        return Decimal(0)  # an exponent of millions would print as many zeros
    # By its exponent: to compare it would round it, which overflows for some.
    return amount if _SMALLEST_EXPONENT < amount.adjusted() < _LARGEST_EXPONENT else None


def _no_amount(text: str, amount: Decimal | None) -> Neutral:
    return neutralise(text, 100) if amount is None else Neutral("")


def _grouped(text: str) -> Neutral:
    """Dollars of a rule's text, which has no way to group digits, as in the amounts above it."""
    return Neutral(
        re.sub(r"\$(\d{4,15})(?=\.\d\d\b)", lambda match: f"${int(match[1]):,}", text, flags=re.ASCII)
    )


def _link_lines(alert: Alert, notification: Notification, links: Links) -> list[Neutral]:
    lines: list[Neutral] = []
    if dashboard := link(alert.annotations.get("dashboard_url", "")) or link(links.dashboard_url or ""):
        lines.append(Neutral(f"Dashboard: {dashboard}"))
    elif alertmanager := link(notification.externalURL):
        lines.append(Neutral(f"Alertmanager: {alertmanager}"))
    runbook = alert.annotations.get("runbook_url", "")
    if links.runbook_url is not None and runbook.startswith(RUNBOOK_PATH):
        runbook = links.runbook_url + runbook.removeprefix(RUNBOOK_PATH)
    if url := link(runbook):
        lines.append(Neutral(f"Runbook: {url}"))
    elif runbook:
        lines.append(Neutral(f"Runbook: {neutralise(runbook)}"))
    return lines


def split(text: str, max_bytes: int) -> list[str]:
    """
    Parts of at most `max_bytes` UTF-8 bytes, cut at an empty line, else a line end, else between characters.

    More than one part are numbered by an added first line.
    """
    data = text.encode("utf-8")
    if len(data) <= max_bytes:
        return [text]
    count = 2
    while True:
        header = len(f"Part {count} of {count}\n".encode())
        bodies = _cut(data, max_bytes - header)
        if len(bodies) <= count or len(str(len(bodies))) == len(str(count)):
            break
        count = len(bodies)
    total = len(bodies)
    return [f"Part {number} of {total}\n{body.decode('utf-8')}" for number, body in enumerate(bodies, 1)]


def _cut(data: bytes, room: int) -> list[bytes]:
    bodies = []
    start = 0
    while len(data) - start > room:
        # +1: a part may end right before the line end that stands at its limit.
        end = data.rfind(b"\n\n", start + room // 2, start + room + 2)
        skip = 2
        if end <= start or end - start > room:
            end, skip = data.rfind(b"\n", start, start + room + 1), 1
        if end < start:
            end, skip = start + room, 0
            while data[end] & 0xC0 == 0x80:  # the middle of a character
                end -= 1
        bodies.append(data[start:end])
        start = end + skip
    bodies.append(data[start:])
    return [body for body in bodies if body.strip(b"\n")]
