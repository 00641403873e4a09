"""Texts of messages from Jinja2 templates: the built-in ones, or files of the operator's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from exporter.relay.neutral import Neutral, neutralise
from exporter.relay.settings import RelayConfigError

log = logging.getLogger(__name__)

BUILT_IN = Path(__file__).parent / "templates"
NAMES = ("alert", "digest", "spend")


class TemplateFailedError(Exception):
    """A template cannot be used; the text says where and why."""


UNKNOWN = Neutral("unknown")


def usd(amount: Decimal | None) -> Neutral:
    """`$1,234.50`, to the cent."""
    if amount is None:
        return UNKNOWN
    return Neutral(f"-${-amount:,.2f}" if amount < 0 else f"${amount:,.2f}")


def signed_usd(amount: Decimal | None) -> Neutral:
    """`+$1,234.50`, to the cent."""
    return UNKNOWN if amount is None else Neutral(("" if amount < 0 else "+") + usd(amount))


def percent(ratio: Decimal | None) -> Neutral:
    """A ratio in percent: `153%`."""
    if ratio is None:
        return UNKNOWN
    value = ratio * 100
    if value >= 10**6:
        return Neutral("more than 1,000,000%")
    # Near 100 a whole percent would hide on which side of a threshold spend is.
    return Neutral(f"{value:.1f}%" if abs(value - 100) < 10 else f"{value:,.0f}%")


def moment(at: datetime | str | None) -> Neutral:
    """`2026-01-05 14:02 UTC`; text as it is."""
    if at is None:
        return UNKNOWN
    if isinstance(at, str):
        return neutralise(at, 100)
    try:
        at = at.astimezone(UTC)
    except OverflowError:  # the first or last hours that a datetime can hold
        return neutralise(at.isoformat())
    return Neutral(f"{at.isoformat(' ')[:16]} UTC")


def _shown(value: object) -> str:
    """What stands for an expression: nothing for none, and never markup out of a label."""
    if value is None:
        return ""
    if isinstance(value, Neutral):
        return value
    if isinstance(value, int | Decimal | date):
        return str(value)
    return neutralise(str(value))


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        autoescape=False,  # messages are text; `finalize` takes the markup out of every value
        loader=jinja2.FileSystemLoader(BUILT_IN),
    )
    environment.filters.update(usd=usd, signed_usd=signed_usd, percent=percent, moment=moment)
    return environment


class Templates:
    """The templates in force, by name; safe for threads."""

    def __init__(
        self,
        files: Mapping[str, Path | None] | None = None,
        on_failure: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`files` replace built-in templates; RelayConfigError if one cannot be read or parsed.

        `on_failure` hears the name of a template that failed on a message.
        """
        self._environment = _environment()
        self._on_failure = on_failure
        self._built_in = {name: self._environment.get_template(f"{name}.txt.j2") for name in NAMES}
        self._own: dict[str, jinja2.Template] = {}
        for name, path in (files or {}).items():
            if path is not None:
                self._own[name] = self._read(name, path)

    def _read(self, name: str, path: Path) -> jinja2.Template:
        where = f"relay.templates.{name}"
        try:
            return self._environment.from_string(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RelayConfigError(f"{where}: cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise RelayConfigError(f"{where}: {path} is not UTF-8 text") from None
        except jinja2.TemplateSyntaxError as error:
            raise RelayConfigError(f"{where}: {path}, line {error.lineno}: {error.message}") from None

    def check(self, name: str, samples: Sequence[Mapping[str, Any]]) -> None:
        """Try the operator's template on samples; RelayConfigError if it fails on one."""
        if name in self._own:
            for sample in samples:
                try:
                    _render(self._own[name], sample)
                except TemplateFailedError as error:
                    raise RelayConfigError(f"relay.templates.{name}: {error}") from None

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """A message's text; where the operator's template fails on it, that of the built-in one."""
        return self.renderer(name)(values)

    def renderer(self, name: str) -> Callable[[Mapping[str, Any]], str]:
        """Renders one message, of which several lengths are tried.

        An operator's template that has failed once is not tried again: a message has one form.
        """
        own = self._own.get(name)

        def render(values: Mapping[str, Any]) -> str:
            nonlocal own
            if own is not None:
                try:
                    return _render(own, values)
                except TemplateFailedError as error:
                    # A message in the wrong form is better than none.
                    own = None
                    self._on_failure(name)
                    log.error(
                        "template failed, the built-in one is used",
                        extra={"setting": f"relay.templates.{name}", "error": str(error)},
                    )
            return _render(self._built_in[name], values)

        return render


def _render(template: jinja2.Template, values: Mapping[str, Any]) -> str:
    try:
        text = template.render(values)
    except Exception as error:  # a template can raise what its expressions do
        line = _line(error)
        where = f"line {line}: " if line else ""
        raise TemplateFailedError(f"{where}{type(error).__name__}: {error}") from error
    text = "\n".join(line.rstrip() for line in text.strip().splitlines())
    if not text:
        raise TemplateFailedError("it renders to nothing, which channels refuse")
    return text


def _line(error: Exception) -> int | None:
    """The template's line that an error came from: Jinja2 puts it into the traceback."""
    found, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            found = frame.tb_lineno
        frame = frame.tb_next
    return found
