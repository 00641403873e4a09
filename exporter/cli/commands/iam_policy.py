"""`aws-spend-exporter iam-policy`."""

from __future__ import annotations

import click

from exporter.cli.commands import examples

# Names of `exporter.generated.iam`, which loads every collector; a test holds these to it.
DOCUMENTS = (
    "payer", "member", "member-trust", "payer-trust", "task-trust", "snapshots", "data-export", "data-export-key",
    "data-export-athena", "remote-write", "stackset", "management-stack",
)  # fmt: skip


@click.command(
    "iam-policy",
    epilog=examples(
        "iam-policy payer --features cost",
        "iam-policy member-trust --exporter-role-arn ARN --organization-id o-...",
    ),
)
@click.argument("document", default="payer", type=click.Choice(DOCUMENTS))
@click.option(
    "--features",
    default="all",
    show_default=True,
    metavar="LIST",
    help="What the role is for, e.g. cost,inventory: cost, inventory, usage or all.",
)
@click.option(
    "--partition",
    default="aws",
    show_default=True,
    metavar="NAME",
    help="Partition of the ARNs in a policy, e.g. aws-us-gov or aws-eusc.",
)
@click.option("--organization-id", "ORGANIZATION_ID", help="Fill in the id of the organization, o-...")
@click.option("--exporter-role-arn", "EXPORTER_ROLE_ARN", help="Fill in the role that enters.")
@click.option("--external-id", "EXTERNAL_ID", help="Demand this external id in a trust policy.")
@click.option("--payer-account-id", "PAYER_ACCOUNT_ID", help="Fill in the account that the tasks run in.")
@click.option("--bucket", "SNAPSHOT_BUCKET", help="Fill in the bucket of the snapshots.")
@click.option("--export-bucket", "EXPORT_BUCKET", help="Fill in the bucket of the data export.")
@click.option(
    "--export-folder", "EXPORT_FOLDER", help="Fill in the data export's folder: its prefix and its name."
)
@click.option("--export-key-arn", "EXPORT_KEY_ARN", help="Fill in the key that encrypts the bucket.")
@click.option("--athena-workgroup", "ATHENA_WORKGROUP", help="Fill in the workgroup of the queries.")
@click.option("--athena-database", "ATHENA_DATABASE", help="Fill in the database of the export's table.")
@click.option("--athena-table", "ATHENA_TABLE", help="Fill in the export's table.")
@click.option("--results-bucket", "RESULTS_BUCKET", help="Fill in the bucket of query results.")
@click.option("--workspace-arn", "WORKSPACE_ARN", help="Fill in the workspace of remote write.")
def command(document: str, features: str, partition: str, **values: str | None) -> None:
    """Print an IAM policy or a CloudFormation template.

    Derived from what the collectors declare.
    """
    from exporter.aws import partitions
    from exporter.generated.iam import FEATURES, as_text, documents, filled

    if partition not in partitions.names():
        raise click.BadParameter(
            f"{partition}: expected one of {', '.join(partitions.names())}", param_hint="--partition"
        )
    chosen = FEATURES if features == "all" else tuple(features.split(","))
    if unknown := sorted(set(chosen) - set(FEATURES)):
        raise click.BadParameter(
            f"{', '.join(unknown)}: expected {', '.join(FEATURES)} or all", param_hint="--features"
        )
    given = {name.upper(): value for name, value in values.items() if value is not None}
    found = documents(chosen, external_id="EXTERNAL_ID" in given, partition=partition)[document]()
    try:
        click.echo(as_text(filled(found, given)), nl=False)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
