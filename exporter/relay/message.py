"""From an Alertmanager notification to the text of Telex messages: rendering, neutralising, splitting."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Literal

from exporter.relay.alertmanager import Alert, Notification

MAX_FIELD_CHARS = 1000
MAX_TITLE_CHARS = 120
RUNBOOK_PATH = "docs/runbook.md"  # what alerts' relative runbook_url starts with


@dataclass(frozen=True)
class Links:
    """Where messages link to; None leaves a link out or as the alert gives it."""

    dashboard_url: str | None = None
    runbook_url: str | None = None


@dataclass(frozen=True)
class Message:
    """One notification as Telex messages: the parts share title and status."""

    title: str
    status: Literal["error", "success"]
    parts: tuple[str, ...]


def render(notification: Notification, links: Links, max_bytes: int, max_parts: int) -> Message:
    """Render one notification; alerts that do not fit into `max_parts` are counted in the last part."""
    shown = len(notification.alerts)
    while True:
        text = _text(notification, links, shown)
        parts = split(text, max_bytes)
        if len(parts) <= max_parts or shown == 0:
            break
        shown //= 2
    return Message(
        title=_title(notification),
        status="error" if notification.status == "firing" else "success",
        parts=tuple(parts[:max_parts]),
    )


def _text(notification: Notification, links: Links, shown: int) -> str:
    alerts = sorted(notification.alerts, key=_urgency)[:shown]
    firing = sum(alert.status == "firing" for alert in notification.alerts)
    resolved = len(notification.alerts) - firing
    heading = f"{notification.status.upper()}: {_title(notification)}"
    if len(notification.alerts) > 1:
        counts = [f"{count} {word}" for count, word in ((firing, "firing"), (resolved, "resolved")) if count]
        heading += f" ({', '.join(counts)})"

    footers = [_link_lines(alert, notification, links) for alert in alerts]
    common = [line for line in footers[0] if all(line in footer for footer in footers)] if footers else []
    blocks = []
    for alert, footer in zip(alerts, footers, strict=True):
        blocks.append("\n".join(_alert_lines(alert) + [line for line in footer if line not in common]))
    unlisted = notification.truncatedAlerts + len(notification.alerts) - shown
    if unlisted:
        blocks.append(f"And {unlisted} more alerts that this message does not list: see Alertmanager.")
    if common:
        blocks.append("\n".join(common))
    if len(notification.alerts) == 1 and not unlisted:
        return "\n".join([heading, *blocks])
    return "\n\n".join([heading, *blocks])


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


def _alert_lines(alert: Alert) -> list[str]:
    fields = {**alert.labels, **{key: value for key, value in alert.annotations.items() if value}}
    lines = []
    if subject := _subject(fields):
        lines.append(subject)
    spend, threshold = _amount(fields.get("spend", "")), _amount(fields.get("threshold", ""))
    if spend is not None:
        lines.append(f"Spend: {_usd(spend)}{_period(fields.get('period', ''))}")
    if threshold is not None:
        percent = (
            f", spend is {_percent(spend, threshold)} of it" if spend is not None and threshold > 0 else ""
        )
        lines.append(f"Threshold: {_usd(threshold)}{percent}")
    severity = f" ({neutralise(fields['severity'], 40)})" if fields.get("severity") else ""
    lines.append(f"Status: {alert.status}{severity}")
    lines.append(f"Since: {_moment(alert.startsAt)}{_until(alert)}")
    # Beside spend and threshold the summary would say the same a second time.
    texts = ["description"] if spend is not None else ["summary", "description"]
    said = [_grouped(text) for key in texts if (text := neutralise(fields.get(key, "")))]
    if spend is None and not said:
        said = [
            f"{neutralise(key, 100)}: {neutralise(value)}"
            for key, value in sorted(alert.labels.items())
            if key not in {"alertname", "severity", "account", "account_id"}
        ]
    return lines + said


def _subject(fields: dict[str, str]) -> str:
    name, account_id = neutralise(fields.get("account", "")), neutralise(fields.get("account_id", ""))
    if account_id:
        return f"Account: {name} ({account_id})" if name and name != account_id else f"Account: {account_id}"
    if name:
        return f"Account: {name}"
    return "Account: all accounts of the organization" if fields.get("scope") == "organization" else ""


def _period(period: str) -> str:
    return {"day": " in a day", "month": " this month"}.get(period, "")


def _until(alert: Alert) -> str:
    if alert.status != "resolved" or alert.endsAt is None or alert.endsAt <= alert.startsAt:
        return ""
    return f", until {_moment(alert.endsAt)}"


def _moment(moment: datetime) -> str:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:  # the first or last hours that a datetime can hold
        return "unknown"
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    # An exponent of thousands is valid Decimal text and would print as many digits.
    return amount if amount.is_finite() and abs(amount) < 10**15 else None


def _usd(amount: Decimal) -> str:
    return f"-${-amount:,.2f}" if amount < 0 else f"${amount:,.2f}"


def _grouped(text: str) -> str:
    """Dollars of a rule's text, which has no way to group digits, as in the amounts above it."""
    return re.sub(r"\$(\d{4,15})(?=\.\d\d\b)", lambda match: f"${int(match[1]):,}", text, flags=re.ASCII)


def _percent(spend: Decimal, threshold: Decimal) -> str:
    percent = spend / threshold * 100
    if percent >= 10**6:
        return "more than 1,000,000%"
    # Near 100 a whole percent would hide on which side of the threshold spend is.
    return f"{percent:.1f}%" if abs(percent - 100) < 10 else f"{percent:,.0f}%"


def _link_lines(alert: Alert, notification: Notification, links: Links) -> list[str]:
    lines = []
    if dashboard := _url(alert.annotations.get("dashboard_url", "")) or _url(links.dashboard_url or ""):
        lines.append(f"Dashboard: {dashboard}")
    elif alertmanager := _url(notification.externalURL):
        lines.append(f"Alertmanager: {alertmanager}")
    runbook = alert.annotations.get("runbook_url", "")
    if links.runbook_url is not None and runbook.startswith(RUNBOOK_PATH):
        runbook = links.runbook_url + runbook.removeprefix(RUNBOOK_PATH)
    if url := _url(runbook):
        lines.append(f"Runbook: {url}")
    elif runbook:
        lines.append(f"Runbook: {neutralise(runbook)}")
    return lines


def _url(text: str) -> str:
    """An http(s) address that cannot end early or open markup where it is shown; else nothing."""
    text = text.strip()
    if len(text) > MAX_FIELD_CHARS or not re.fullmatch(r"https?://[^\s\x00-\x20\x7f-\x9f]+", text):
        return ""
    if not text.isprintable():
        return ""
    return re.sub(r"[<>\"'`()\[\]*\\|^{}]", lambda match: f"%{ord(match[0]):02X}", text)


_LOOKALIKE = str.maketrans({"<": "‹", ">": "›", "`": "'", "*": "∗", "~": "∼", "@": "＠"})


def neutralise(text: str, max_chars: int = MAX_FIELD_CHARS) -> str:
    """
    One line of harmless text from a label or annotation.

    Account names are chosen by whoever owns the account; they must not become links, mentions, emphasis, HTML
    or extra lines. Look-alikes rather than escapes, because an escape shows where a client prints plain text.
    """
    # What is far too long is cut first: the rest is linear, but a megabyte of it is not worth reading.
    text = text[: max_chars * 4]
    text = "".join(" " if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in text)
    text = "".join(char for char in text if unicodedata.category(char) not in {"Cf", "Cs", "Co", "Cn"})
    text = re.sub(r"\s+", " ", text).strip().translate(_LOOKALIKE)
    text = re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", lambda match: "ˍ" * len(match[0]), text)  # snake_case stays
    text = re.sub(r"\](?=[(\[:])", "] ", text)  # [text](address), [text][reference] and [reference]:
    text = re.sub(r"(?i)([a-z][a-z0-9+.-]*):(?=//)", r"\1: ", text)
    text = re.sub(r"(?i)\b(javascript|data|vbscript|mailto):", r"\1 :", text)
    text = re.sub(r"(?i)\bwww\.", "www ", text)
    text = re.sub(r"&(?=#?\w+;)", "＆", text)
    text = text.replace("|", "¦")
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def split(text: str, max_bytes: int) -> list[str]:
    """
    Parts of at most `max_bytes` UTF-8 bytes, cut at an empty line, else a line end, else between characters.

    More than one part are numbered by a first line of their own.
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
        if end <= start:
            end, skip = start + room, 0
            while data[end] & 0xC0 == 0x80:  # the middle of a character
                end -= 1
        bodies.append(data[start:end])
        start = end + skip
    bodies.append(data[start:])
    return [body for body in bodies if body.strip(b"\n")]
