"""Which services of an account have separate cost series: the same ones in every family."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase

from exporter.accounts.threshold_settings import ThresholdSettings
from exporter.anomalies.settings import AnomalySettings
from exporter.core.fields import CollectorSettings
from exporter.core.folding import choose_named
from exporter.core.moments import month_start
from exporter.cost.settings import CostSettings
from exporter.declarations.view import ViewContext

FAMILIES_OF_A_SERVICE = 10
"""Families that show a service of an account all the time, of the views of cost."""


def named_services(view: ViewContext[CollectorSettings]) -> Mapping[str, Collection[str]]:
    """The services that stay, of each account that has more than its series are enough for.

    Those that cost most this month and the last, but first those that a threshold names and those
    of a finding that stands now. Found again only when the ledger says something else.
    """
    memory = view.memory
    if memory.is_of_the_last_process:
        return memory.named
    today = view.now.date()
    start, end = month_start(today, 1), today + timedelta(days=1)
    thresholds = view.sections.of(ThresholdSettings)
    found = tuple(_with_finding(view))
    states = tuple(view.ledger.reads.day_states(start, end).items())
    version = start, states, view.account_series, thresholds, found
    if memory.version == version:
        return memory.named
    costs: defaultdict[str, dict[str, float]] = defaultdict(dict)
    cost_type = view.sections.of(CostSettings).cost_type
    for (account_id, service), usd in view.ledger.cost.sums(start, end, cost_type).items():
        costs[account_id][service] = float(usd)
    standing: defaultdict[str, set[str]] = defaultdict(set)
    for account_id, service in found:
        standing[account_id].add(service)
        costs[account_id].setdefault(service, 0.0)
    patterns = tuple(_patterns(thresholds))
    limited = {
        service
        for services in costs.values()
        for service in services
        if any(fnmatchcase(service, pattern) for pattern in patterns)
    }
    named = {}
    for account_id, services in costs.items():
        most = max(1, view.account_series - len(standing[account_id])) // FAMILIES_OF_A_SERVICE
        before = memory.named.get(account_id, frozenset())
        chosen = choose_named(services, most, limited | standing[account_id], before)
        if len(chosen) < len(services):
            named[account_id] = chosen
    memory.version, memory.named = version, named
    return named


def _patterns(thresholds: ThresholdSettings) -> Iterable[str]:
    """Names and globs of the services that a threshold names."""
    yield from thresholds.services.overrides
    for services in thresholds.account_services.overrides.values():
        yield from services


def _with_finding(view: ViewContext[CollectorSettings]) -> Iterable[tuple[str, str]]:
    """Account id and service of what stands out now."""
    settings = view.sections.of(AnomalySettings)
    if not settings.enabled:
        return
    # numpy is imported with the first rendering.
    from exporter.anomalies.cost import assess

    if (assessment := assess(view.ledger, view.now, settings)) is not None:
        yield from sorted({(finding.account_id, finding.service) for finding in assessment.findings})
