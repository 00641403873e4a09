"""Old days are compared and read again as often as the ceilings have room for, and never in place of what must not wait."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.older_months import KEPT_FREE, usd_a_month, within_ceilings
from exporter.cost.settings import CostSettings
from exporter.declarations.calls import Scale

dollars = st.decimals(0, 50, places=2)
scales = st.builds(
    lambda accounts, services, groups: Scale(accounts, services, accounts * services, 1, groups),
    st.integers(1, 3000),
    st.integers(1, 60),
    st.sampled_from([500, 2000, 10_000]),
)
SETTINGS = CostSettings()


@given(scales, dollars, st.none() | dollars, st.none() | dollars)
def test_what_is_planned_is_within_the_ceilings_and_no_more_often_than_configured(
    scale: Scale, needed: Decimal, day: Decimal | None, month: Decimal | None
) -> None:
    paced = within_ceilings(SETTINGS, scale, {"day": day, "month": month}, needed)
    limit = min(
        (limit for limit in (30 * day if day is not None else None, month) if limit is not None), default=None
    )
    for wanted, given_ in (
        (SETTINGS.compare_months, paced.compare_months),
        (SETTINGS.reread_days, paced.reread_days),
    ):
        assert given_ is None or (wanted is not None and given_ >= wanted)
    usd = usd_a_month(paced, scale)
    if limit is None or limit >= max(needed * KEPT_FREE, needed + usd_a_month(SETTINGS, scale)):
        assert paced == SETTINGS
    else:
        assert usd == 0 or needed + usd <= limit + Decimal("0.0001")
        assert (paced.compare_months, paced.reread_days) != (SETTINGS.compare_months, SETTINGS.reread_days)
        # Comparisons come first.
        assert paced.reread_days is None or paced.compare_months == SETTINGS.compare_months


def test_what_is_configured_to_be_left_alone_is_left_alone() -> None:
    off = CostSettings(compare_months=None, reread_days=None)
    scale = Scale(1000, 20, 20_000, 1, 10_000)
    assert within_ceilings(off, scale, {"month": Decimal(0)}, Decimal(9)) == off
