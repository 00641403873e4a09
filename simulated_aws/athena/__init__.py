"""Amazon Athena: SQL on the files of tables, run by DuckDB, with the states, costs and refusals of the service."""

from simulated_aws.athena.api import Athena, WorkGroup
from simulated_aws.athena.tables import Table, TableFile, Tables

__all__ = ["Athena", "Table", "TableFile", "Tables", "WorkGroup"]
