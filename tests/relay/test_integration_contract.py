"""Settings of any JSON type are read, and a wrong one is named without showing what it held."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.relay.integration.answer import ORGANIZATION, Spend, samples, values
from exporter.relay.integration.contract import SettingError, TickSetting, Wanted, integration, read_settings
from exporter.relay.templating import Templates

KEY_ID, SECRET = "AKIAPLANTED000000001", "planted/secret+key0000000000000000000000"


def read(**values: Any) -> Wanted:
    given = {"threshold": "100", "frequency": "Daily", "interval": "0 9 * * *", **values}
    return read_settings([TickSetting(label=label, default=value) for label, value in given.items()])


@pytest.mark.parametrize(
    ("value", "usd"),
    [
        ("100", "100"), ("100.5", "100.5"), (" 100.50 ", "100.50"), (100, "100"), (100.1, "100.1"), (0, "0"), ("0", "0"),
        ("$1,000.50", "1000.50"), ("$ 5", "5"), (".5", "0.5"), ("5.", "5"), (["250"], "250"), ("1,000,000", "1000000"),
    ],
)  # fmt: skip
def test_thresholds(value: Any, usd: str) -> None:
    assert read(threshold=value).threshold == Decimal(usd)


@pytest.mark.parametrize(
    "value",
    [
        "abc", "100,5", "1,00", "-1", -1, "1e3", "NaN", "inf", float("inf"), float("nan"), True, False, None, "", [], [1, 2], {},
        "1" * 41, 10**13, "٣", "100 200", SECRET,
    ],
)  # fmt: skip
def test_wrong_thresholds_are_named_and_not_shown(value: Any) -> None:
    with pytest.raises(SettingError, match=r"^threshold: .*US dollars such as 100") as error:
        read(threshold=value)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("value", "frequency"),
    [("Daily", "Daily"), ("monthly", "Monthly"), (" MONTHLY ", "Monthly"), (["Monthly"], "Monthly"), ("", "Daily"), (None, "Daily")],
)  # fmt: skip
def test_frequencies(value: Any, frequency: str) -> None:
    assert read(frequency=value).frequency == frequency


@pytest.mark.parametrize("value", ["Weekly", "Hourly", 1, True, ["Daily", "Monthly"], {"a": 1}, [[]]])
def test_an_unknown_frequency_is_named(value: Any) -> None:
    with pytest.raises(SettingError, match=r"^frequency: expected Daily or Monthly$"):
        read(frequency=value)


@pytest.mark.parametrize(
    ("value", "usable"),
    [
        ("0 9 * * *", True), ("*/5 * * * mon-fri", True), ("", True), (None, True),
        ("every day", False), ("0 9 * *", False), ("61 * * * *", False), (5, False), (True, False), ("* " * 500, False),
    ],
)  # fmt: skip
def test_intervals(value: Any, usable: bool) -> None:
    assert read(interval=value).interval_is_usable is usable


def test_keys() -> None:
    keys = read(aws_access_key_id=f" {KEY_ID} ", aws_secret_access_key=[SECRET]).keys
    assert keys is not None
    assert (keys.key_id.reveal(), keys.secret.reveal()) == (KEY_ID, SECRET)
    assert KEY_ID not in repr(keys)
    assert SECRET not in repr(keys)
    for none in ({}, {"aws_access_key_id": "", "aws_secret_access_key": None}, {"aws_access_key_id": False}):
        assert read(**none).keys is None


@pytest.mark.parametrize(
    ("key_id", "secret", "said"),
    [
        (KEY_ID, "", "aws_secret_access_key: is missing, while aws_access_key_id is set"),
        ("", SECRET, "aws_access_key_id: is missing, while aws_secret_access_key is set"),
        ("key", SECRET, "aws_access_key_id: expected 16 to 128 letters and digits, as AWS shows them"),
        (KEY_ID + "\r\nX: y", SECRET, "aws_access_key_id: expected 16 to 128 letters and digits, as AWS shows them"),
        (KEY_ID, "planted with spaces in", "aws_secret_access_key: expected the secret as AWS shows it, without spaces"),
        (12345678901234567890, SECRET, "aws_access_key_id: expected text"),
        (KEY_ID, True, "aws_secret_access_key: expected text"),
    ],
)  # fmt: skip
def test_wrong_keys_are_named_and_not_shown(key_id: Any, secret: Any, said: str) -> None:
    with pytest.raises(SettingError) as error:
        read(aws_access_key_id=key_id, aws_secret_access_key=secret)
    assert str(error.value) == said


def test_labels_are_found_as_people_write_them() -> None:
    settings = [
        TickSetting(label="Threshold", default=5),
        TickSetting(label=" FREQUENCY ", default="Monthly"),
        TickSetting(label="AWS Access-Key ID", default=KEY_ID),
        TickSetting(label="aws_secret_access_key", default=SECRET),
        TickSetting(label="something else", default={"a": []}),
    ]
    wanted = read_settings(settings)
    assert (wanted.threshold, wanted.frequency, wanted.keys is not None) == (5, "Monthly", True)


@pytest.mark.parametrize(
    ("today", "daily", "first", "last"),
    [
        (date(2026, 3, 20), date(2026, 3, 19), date(2026, 2, 1), date(2026, 2, 28)),
        (date(2026, 3, 1), date(2026, 2, 28), date(2026, 2, 1), date(2026, 2, 28)),
        (date(2026, 1, 1), date(2025, 12, 31), date(2025, 12, 1), date(2025, 12, 31)),
        (date(2028, 3, 31), date(2028, 3, 30), date(2028, 2, 1), date(2028, 2, 29)),
    ],
)
def test_daily_is_yesterday_and_monthly_the_last_calendar_month(
    today: date, daily: date, first: date, last: date
) -> None:
    assert read().period(today) == (daily, daily)
    assert read(frequency="Monthly").period(today) == (first, last)


NOW = datetime(2026, 3, 20, 13, tzinfo=UTC)


def shown(usd: str | None, problem: str = "", **settings: Any) -> str:
    spend = Spend(ORGANIZATION, Decimal(usd)) if usd is not None else None
    return Templates().render(
        "spend", values(read(**settings), spend, problem, NOW, "https://grafana.example/d")
    )


def test_an_answer_names_account_period_spend_threshold_and_status() -> None:
    assert shown("123.4567") == (
        "AWS Spend Monitor: above threshold\n"
        "Account: all accounts of the organization\n"
        "Period: 2026-03-19 (Daily)\n"
        "Spend: $123.46 (amortized)\n"
        "Threshold: $100.00, spend is 123% of it\n"
        "Status: above threshold\n"
        "AWS may still add to this cost.\n"
        "Dashboard: https://grafana.example/d"
    )
    assert shown("1", frequency="Monthly", interval="soon") == (
        "AWS Spend Monitor: within budget\n"
        "Account: all accounts of the organization\n"
        "Period: 2026-02-01 to 2026-02-28 (Monthly)\n"
        "Spend: $1.00 (amortized)\n"
        "Threshold: $100.00, spend is 1% of it\n"
        "Status: within budget\n"
        "interval: expected the five fields of a crontab\n"
        "Dashboard: https://grafana.example/d"
    )
    assert shown(None, "AWS cannot be reached") == (
        "AWS Spend Monitor: no answer\n"
        "Period: 2026-03-19 (Daily)\n"
        "Threshold: $100.00\n"
        "Status: unknown\n"
        "Problem: AWS cannot be reached"
    )


@pytest.mark.parametrize(
    ("usd", "over"),
    [("100", False), ("100.00", False), ("100.004", False), ("100.005", True), ("100.01", True), ("99.999", False), ("-5", False)],
)  # fmt: skip
def test_equal_to_the_cent_is_within_budget(usd: str, over: bool) -> None:
    assert values(read(), Spend("x", Decimal(usd)), "", NOW, None)["over"] is over


def test_every_sample_renders() -> None:
    assert all(Templates().render("spend", sample) for sample in samples(NOW))


def test_the_description_has_the_settings_of_the_original() -> None:
    data = integration("https://relay.example")["data"]
    assert [setting["label"] for setting in data["settings"]] == [
        "aws_access_key_id", "aws_secret_access_key", "threshold", "frequency", "interval",
    ]  # fmt: skip
    assert (data["integration_type"], data["tick_url"]) == ("interval", "https://relay.example/tick")
    # As it stands, without any input of the user's, it can be ticked.
    assert read_settings([TickSetting(**setting) for setting in data["settings"]]) == Wanted(
        None, Decimal(100), "Daily", interval_is_usable=True
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["aws_access_key_id", "aws_secret_access_key", "threshold", "frequency", "interval"]), JSON))  # fmt: skip
@settings(max_examples=500, deadline=None)
def test_any_value_is_read_or_refused(values: dict[str, Any]) -> None:
    said = ""
    try:
        assert read(**values).threshold >= 0
    except SettingError as error:
        said = str(error).split(":")[0]
    assert said in {"", "aws_access_key_id", "aws_secret_access_key", "threshold", "frequency"}
