"""`aws-spend-exporter iam-policy`."""

from __future__ import annotations

import click

from exporter.iam import policy_files


@click.command("iam-policy")
@click.argument("role", type=click.Choice(["payer", "member", "member-trust"]))
def command(role: str) -> None:
    """Print the IAM policy that a role needs, derived from what the collectors declare."""

    name = {"payer": "payer-role", "member": "member-role", "member-trust": "member-role-trust"}[role]
    click.echo(policy_files()[f"{name}.json"], nl=False)
