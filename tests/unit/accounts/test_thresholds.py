"""Thresholds of the configuration become one series for each subject that there is."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from exporter.accounts.discovery import Directory, accounts_of, group_samples
from exporter.accounts.settings import AccountsSettings
from exporter.accounts.thresholds import Families, resolve
from exporter.config.model import Config
from exporter.config.read import ConfigError, load_config
from exporter.core.exposition import render
from exporter.core.metric import Sample
from exporter.core.places import Account

PROD = Account("111111111111", "prod", ous=("/Workloads", "/Workloads/Prod"), groups={"team": "platform"})
DEV = Account("222222222222", "dev", ous=("/Workloads", "/Workloads/Dev"), groups={"team": "data"})
SANDBOX = Account("333333333333", "sandbox")
ACCOUNTS = {account.id: account for account in (PROD, DEV, SANDBOX)}
SPENDING = {
    (PROD.id, "Amazon EC2"),
    (PROD.id, "AWS Lambda"),
    (DEV.id, "Amazon EC2"),
    ("999999999999", "Amazon EC2"),
}
GROUPS = {"team": [{"value": "platform", "accounts": ["prod"]}]}


def config(thresholds: dict[str, Any]) -> Config:
    return Config.model_validate({"thresholds": thresholds, "accounts": {"groups": GROUPS}})


def resolved(thresholds: dict[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    """The exposition's lines and what matches nothing."""
    found = resolve(config(thresholds).thresholds, ACCOUNTS, SPENDING, {"team"})
    return [line for text in render(found.samples).values() for line in text.splitlines()], found.unmatched


def series(name: str = "aws_cost_threshold_usd", **labels: str) -> str:
    pairs = [f'{key}="{value}"' for key, value in labels.items()]
    return f"{name}{{{','.join(pairs)}}}"


OF_PROD = {"account_id": PROD.id, "account": "prod"}
OF_DEV = {"account_id": DEV.id, "account": "dev"}
OF_SANDBOX = {"account_id": SANDBOX.id, "account": "sandbox"}


def test_no_threshold_is_no_series() -> None:
    assert resolved({}) == ([], ())


def test_organization_and_accounts_with_default_and_overrides_as_ever() -> None:
    """The first override that matches id, name, OU path or glob replaces all of the default."""
    lines, unmatched = resolved(
        {
            "organization": {"day": 5000, "month": 120000.5},
            "accounts": {
                "default": {"day": 700, "month": 9000},
                "overrides": {"prod": {"day": 2500}, "/Workloads*": {"month": 60}, SANDBOX.id: None},
            },
        }
    )
    assert lines == [
        series(scope="organization", subject="all accounts", period="day") + " 5000",
        series(scope="organization", subject="all accounts", period="month") + " 120000.5",
        series(scope="account", subject="prod (111111111111)", period="day", **OF_PROD, team="platform")
        + " 2500",
        series(scope="account", subject="dev (222222222222)", period="month", **OF_DEV, team="data") + " 60",
    ]
    assert unmatched == ()


def test_ous_count_each_ancestor_and_the_default_holds_for_the_others() -> None:
    lines, unmatched = resolved(
        {"ous": {"default": {"day": 10}, "overrides": {"/Workloads/Pr*": {"day": 20}, "/Gone": {"day": 1}}}}
    )
    assert lines == [
        series(scope="ou", subject=f"OU {ou}", period="day", ou=ou) + f" {usd}"
        for ou, usd in (("/Workloads", 10), ("/Workloads/Dev", 10), ("/Workloads/Prod", 20))
    ]
    assert unmatched == ("thresholds.ous.overrides./Gone",)


def test_groups_carry_their_own_label_so_that_alertmanager_routes_them_as_their_accounts() -> None:
    lines, unmatched = resolved(
        {"groups": {"team": {"default": {"month": 7}, "overrides": {"data": {"day": 3}, "nobody": None}}}}
    )
    group = {"group": "team"}
    assert lines == [
        series(
            scope="group", subject="team data", period="day", **group, group_value="data", team="data"
        )
        + " 3",
        series(
            scope="group", subject="team platform", period="month", **group, group_value="platform", team="platform"
        )
        + " 7",
    ]  # fmt: skip
    assert unmatched == ("thresholds.groups.team.overrides.nobody",)


def test_services_are_those_with_cost_in_any_account() -> None:
    lines, unmatched = resolved(
        {
            "services": {
                "default": {"day": 9},
                "overrides": {"Amazon EC*": {"day": 8}, "Amazon RDS": {"day": 1}},
            }
        }
    )
    assert lines == [
        series(scope="service", subject="AWS Lambda", period="day", service="AWS Lambda") + " 9",
        series(scope="service", subject="Amazon EC2", period="day", service="Amazon EC2") + " 8",
    ]
    assert unmatched == ("thresholds.services.overrides.Amazon RDS",)


def test_a_service_of_an_account_has_the_first_rule_that_both_match() -> None:
    lines, unmatched = resolved(
        {
            "account_services": {
                "default": {"day": 1},
                "overrides": {
                    "prod": {"AWS Lambda": {"day": 100}},
                    "*": {"Amazon *": {"day": 50}, "AWS Glue": {"day": 2}, "AWS L*": {"day": 7}},
                    "gone": {"*": {"day": 2}},
                },
            }
        }
    )
    assert lines == [
        series(scope="account_service", subject=f"{service} of {name} ({id_})", period="day",
               account_id=id_, account=name, service=service, team=team) + f" {usd}"
        for id_, name, team, service, usd in (
            (PROD.id, "prod", "platform", "AWS Lambda", 100),
            (PROD.id, "prod", "platform", "Amazon EC2", 50),
            (DEV.id, "dev", "data", "Amazon EC2", 50),
        )
    ]  # fmt: skip
    assert unmatched == (
        "thresholds.account_services.overrides.*.AWS Glue",
        "thresholds.account_services.overrides.gone.*",
    )


def test_limits_of_resources() -> None:
    lines, unmatched = resolved(
        {
            "unused": {"organization": 500, "accounts": {"default": 100, "overrides": {"prod": 0}}},
            "untagged": {"accounts": {"overrides": {"dev": 5, "gone": 1}}},
            "resource_jump": {"overrides": {"dev": {"times": 1.5}, "prod": None}},
        }
    )
    prod = {"scope": "account", "subject": "prod (111111111111)", **OF_PROD, "team": "platform"}
    dev = {"scope": "account", "subject": "dev (222222222222)", **OF_DEV, "team": "data"}
    sandbox = {"scope": "account", "subject": "sandbox (333333333333)", **OF_SANDBOX}
    unused = "aws_resources_unused_threshold_usd"
    assert lines == [
        series(unused, scope="organization", subject="all accounts") + " 500",
        series(unused, **prod) + " 0",
        series(unused, **dev) + " 100",
        series(unused, **sandbox) + " 100",
        series("aws_resources_untagged_threshold", **dev) + " 5",
        series("aws_resources_jump_threshold", **dev) + " 20",
        series("aws_resources_jump_threshold_ratio", **dev) + " 1.5",
    ]
    assert unmatched == ("thresholds.untagged.accounts.overrides.gone",)


def test_an_override_that_an_earlier_one_hides_is_not_called_unmatched() -> None:
    _, unmatched = resolved({"accounts": {"overrides": {"*": {"day": 1}, "prod": {"day": 2}}}})
    assert unmatched == ()


def test_two_accounts_of_one_name_have_a_series_each() -> None:
    twins = {id_: Account(id_, "twin") for id_ in ("111111111111", "222222222222")}
    settings = config({"accounts": {"overrides": {"twin": {"day": 5}}}}).thresholds
    lines = render(resolve(settings, twins, (), ()).samples)
    (text,) = lines.values()
    assert text.count("\n") == 2


def test_linked_accounts_have_thresholds_and_groups_where_only_the_payer_is_collected() -> None:
    directory = Directory("111111111111", "aws", {PROD.id: PROD}, {})
    with_cost = {PROD.id: "prod", DEV.id: "dev", SANDBOX.id: "sandbox"}
    settings = AccountsSettings.model_validate(
        {"exclude": ["sand*"], "groups": {"team": [{"value": "data", "accounts": ["dev"]}]}}
    )
    accounts = accounts_of(directory, settings, with_cost)
    assert accounts == {PROD.id: PROD, DEV.id: Account(DEV.id, "dev", groups={"team": "data"})}
    organization = settings.model_copy(update={"discovery": "organizations"})
    assert accounts_of(directory, organization, with_cost) == {PROD.id: PROD}


def test_groups_are_one_series_for_each_label_of_an_account() -> None:
    account = Account("111111111111", "prod", groups={"team": "platform", "environment": "", "owner": "ann"})
    lines = render(group_samples([account, SANDBOX]))
    assert [line for text in lines.values() for line in text.splitlines()] == [
        series("aws_account_group_info", **OF_PROD, group="team", group_value="platform") + " 1",
        series("aws_account_group_info", **OF_PROD, group="owner", group_value="ann") + " 1",
    ]


def test_a_sample_is_checked_against_its_familys_labels() -> None:
    families = Families.with_labels({"team", "environment"})
    assert families.cost.labels[-2:] == ("environment", "team")
    sample: Sample = families.unused(
        1, scope="organization", subject="all accounts", account_id="", account="", environment="", team=""
    )
    assert sample.value == 1


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"groups": {"tema": {}}}, "thresholds.groups.tema: found {}, expected a label of accounts.groups (team)"),
        ({"groups": {"my-team": {}}}, "thresholds.groups.my-team: found 'my-team', expected a Prometheus label"),
        ({"ous": {"default": 5}}, "thresholds.ous.default: found 5, expected a mapping of keys"),
        ({"ous": {"override": {}}}, "thresholds.ous.override: found an unknown key, expected one of default, over"),
        (
            {"services": {"overrides": {"Amazon EC2": {"day": -1}}}},
            "thresholds.services.overrides.Amazon EC2.day: found -1, expected an amount in US dollars between",
        ),
        (
            {"account_services": {"overrides": {"prod": {"EC2": {"week": 1}}}}},
            "thresholds.account_services.overrides.prod.EC2.week: found an unknown key, expected one of day, month",
        ),
        ({"unused": {"organization": "x"}}, "thresholds.unused.organization: found 'x', expected an amount in US"),
        ({"untagged": {"organization": -1}}, "thresholds.untagged.organization: found -1, expected a number of at"),
        ({"untagged": {"accounts": {"default": 1.5}}}, "thresholds.untagged.accounts.default: found 1.5, expected"),
        ({"resource_jump": {"default": {"times": 0.5}}}, "thresholds.resource_jump.default.times: found 0.5, exp"),
    ],
)  # fmt: skip
def test_a_bad_threshold_is_named(thresholds: dict[str, Any], message: str, tmp_path: Any) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"thresholds": thresholds, "accounts": {"groups": GROUPS}}))
    with pytest.raises(ConfigError) as error:
        load_config(path, {})
    assert str(error.value).startswith(f"{path}: {message}")


def test_a_group_label_may_not_hide_a_label_of_the_thresholds(tmp_path: Any) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"accounts": {"groups": {"period": GROUPS["team"]}}}))
    with pytest.raises(
        ConfigError, match=r"accounts\.groups: found .* expected label names other than period"
    ):
        load_config(path, {})
