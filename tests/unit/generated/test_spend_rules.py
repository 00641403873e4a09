"""The rules of spend: as generated, for each scope and family that a threshold and an alert name."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from exporter.accounts.threshold_settings import ThresholdSettings
from exporter.generated.reference import family_rows
from exporter.generated.spend_rules import BEGIN, SCOPES, SPEND_FAMILIES, with_spend_rules

FILE = Path(__file__).parents[3] / "prometheus" / "rules" / "thresholds.yml"
TEXT = FILE.read_text()
RULES = [rule for group in yaml.safe_load(TEXT)["groups"] for rule in group["rules"]]


def test_the_file_is_what_is_generated() -> None:
    assert with_spend_rules(TEXT) == TEXT, "run `make docs`"


def test_a_rule_that_is_edited_by_hand_is_noticed() -> None:
    edited = TEXT.replace("expr: sum(aws_cost_today_usd)", "expr: sum(aws_cost_yesterday_usd)", 1)
    assert edited != TEXT
    assert with_spend_rules(edited) == TEXT


def test_a_file_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        with_spend_rules(TEXT.replace(BEGIN, ""))


def test_each_family_is_recorded_once_for_each_scope() -> None:
    recorded = Counter(
        (rule["record"], rule["labels"]["scope"])
        for rule in RULES
        if rule.get("record", "").startswith("scope:") and rule["record"].endswith(":sum")
    )
    assert recorded == Counter(
        (f"scope:{family}:sum", scope) for family in SPEND_FAMILIES for scope in SCOPES
    )


def test_the_families_are_those_that_alerts_ask_for_and_are_served() -> None:
    asked = set(
        re.findall(r"scope:(aws_cost_\w+_usd):sum", "\n".join(r["expr"] for r in RULES if "alert" in r))
    )
    assert asked == set(SPEND_FAMILIES)
    assert asked <= {row["name"] for row in family_rows()}


def test_the_scopes_are_those_of_the_configuration() -> None:
    spend = set(ThresholdSettings.model_fields) - {"unused", "untagged", "resource_jump"}
    assert {scope if scope == "organization" else f"{scope}s" for scope in SCOPES} == spend
