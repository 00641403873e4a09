"""The simulated Athena runs what Athena would run, refuses what it would refuse, and counts what it would charge."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from botocore.exceptions import ClientError
from simulated_calls import Client, error_code

from simulated_aws import SimulatedAws
from simulated_aws.athena import Athena, Table, TableFile, WorkGroup
from simulated_aws.athena.values import column_info, text, to_csv
from simulated_aws.wire import Tokens

OUTPUT = "s3://results/athena/"
ROWS = {
    "2026-09": "('2026-09-03 01:00:00'::timestamp, 'AmazonEC2', 10.125, map {'user_team': 'data'}),"
    "('2026-09-04 00:00:00'::timestamp, 'AmazonS3', 0.5, map {})",
    "2026-10": "('2026-10-01 23:00:00'::timestamp, 'AmazonEC2', 1.1, map {'user_team': 'data', 'user_env': 'x'}),"
    "('2026-10-02 00:00:00'::timestamp, 'AmazonEC2', 2.2, map {'user_env': 'y'}),"
    "('2026-10-02 05:00:00'::timestamp, NULL, 3.3, NULL)",
}
BY_SERVICE = (
    "SELECT line_item_product_code AS service, sum(CAST(line_item_unblended_cost AS decimal(28, 10))) AS cost"
    " FROM cur WHERE billing_period = '2026-10' GROUP BY 1 ORDER BY service NULLS LAST"
)


def _write(path: Path, values: str, more: str = "") -> Path:
    duckdb.connect().execute(
        f"COPY (SELECT *{more} FROM (VALUES {values}) AS t(line_item_usage_start_date, line_item_product_code,"  # noqa: S608
        f" line_item_unblended_cost, resource_tags)) TO '{path}' (FORMAT parquet)"
    )
    return path


class World:
    """An Athena with a table `billing.cur` of two months, and short ways to use it."""

    def __init__(self, aws: SimulatedAws, client: Any, folder: Path) -> None:
        self.athena = aws.athena
        self.client = client
        self.files = [
            TableFile(_write(folder / f"{month}.parquet", values), {"billing_period": month})
            for month, values in ROWS.items()
        ]
        self.athena.tables = self._table
        self.athena.workgroups["costs"] = WorkGroup("costs", cutoff=10_000_000, output=OUTPUT)

    def _table(self, database: str, name: str) -> Table:
        return {("billing", "cur"): Table(self.files)}[database, name]

    def start(self, sql: str, **more: Any) -> str:
        asked = {"WorkGroup": "costs", "QueryExecutionContext": {"Database": "billing"}} | more
        return str(self.client.start_query_execution(QueryString=sql, **asked)["QueryExecutionId"])

    def execution(self, identifier: str) -> dict[str, Any]:
        return dict(self.client.get_query_execution(QueryExecutionId=identifier)["QueryExecution"])

    def end(self, identifier: str) -> dict[str, Any]:
        """The execution once it is final, after a bounded number of requests."""
        for _ in range(5000):
            execution = self.execution(identifier)
            if execution["Status"]["State"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                return execution
        raise AssertionError("the query does not end")

    def run(self, sql: str, **more: Any) -> dict[str, Any]:
        return self.end(self.start(sql, **more))

    def rows(self, sql: str, **more: Any) -> list[list[str | None]]:
        """The header and the rows of a query that succeeds."""
        execution = self.run(sql, **more)
        assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
        answer = self.client.get_query_results(QueryExecutionId=execution["QueryExecutionId"])
        return [[cell.get("VarCharValue") for cell in row["Data"]] for row in answer["ResultSet"]["Rows"]]


@pytest.fixture
def world(aws: SimulatedAws, client: Client, tmp_path: Path) -> Iterator[World]:
    before = aws.athena
    aws.athena = Athena(aws.clock.now, Tokens())
    yield World(aws, client("athena"), tmp_path)
    aws.athena.close()
    aws.athena = before


def test_a_query_is_queued_runs_and_succeeds_with_exact_sums(world: World) -> None:
    identifier = world.start(BY_SERVICE)
    states = [world.execution(identifier)["Status"]["State"] for _ in range(2)]
    assert states == ["QUEUED", "RUNNING"]
    done = world.end(identifier)
    assert done["Status"]["State"] == "SUCCEEDED"
    assert done["ResultConfiguration"]["OutputLocation"] == f"{OUTPUT}{identifier}.csv"
    answer = world.client.get_query_results(QueryExecutionId=identifier)["ResultSet"]
    assert answer["Rows"] == [
        {"Data": [{"VarCharValue": "service"}, {"VarCharValue": "cost"}]},
        {"Data": [{"VarCharValue": "AmazonEC2"}, {"VarCharValue": "3.3000000000"}]},
        {"Data": [{}, {"VarCharValue": "3.3000000000"}]},
    ]
    columns = [
        (each["Name"], each["Type"], each["Scale"]) for each in answer["ResultSetMetadata"]["ColumnInfo"]
    ]
    assert columns == [("service", "varchar", 0), ("cost", "decimal", 10)]
    assert world.athena.objects["results", f"athena/{identifier}.csv"] == (
        b'"service","cost"\n"AmazonEC2","3.3000000000"\n,"3.3000000000"\n'
    )


@pytest.mark.parametrize(
    ("condition", "months"),
    [
        ("billing_period = '2026-10'", ["2026-10"]),
        ("billing_period >= '2026-10' AND line_item_unblended_cost > 0", ["2026-10"]),
        ("billing_period IN ('2026-09', '2026-10')", ["2026-09", "2026-10"]),
        ("line_item_usage_start_date >= timestamp '2026-10-01 00:00:00'", ["2026-09", "2026-10"]),
        ("billing_period = '2027-01'", []),
        ("true", ["2026-09", "2026-10"]),
    ],
)
def test_only_the_selected_partitions_are_scanned(world: World, condition: str, months: list[str]) -> None:
    done = world.run(f"SELECT count(*) FROM billing.cur AS c WHERE {condition}")  # noqa: S608 # of this file
    sizes = {file.partition["billing_period"]: file.path.stat().st_size for file in world.files}
    assert done["Statistics"]["DataScannedInBytes"] == sum(sizes[month] for month in months)


def test_a_partition_is_selected_through_a_subquery_and_each_reference_is_scanned(world: World) -> None:
    size = world.files[0].path.stat().st_size
    inner = (
        "SELECT * FROM (SELECT billing_period AS p, line_item_unblended_cost FROM cur) WHERE p = '2026-09'"
    )
    assert world.run(inner)["Statistics"]["DataScannedInBytes"] == size
    both = "SELECT 1 FROM cur WHERE billing_period = '2026-09'"
    assert world.run(f"{both} UNION ALL {both}")["Statistics"]["DataScannedInBytes"] == 2 * size


def test_an_unreadable_file_of_a_partition_that_is_not_selected_does_no_harm(
    world: World, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    files = [*world.files, TableFile(broken, {"billing_period": "2026-11"})]
    columns = {"line_item_product_code": "string", "line_item_unblended_cost": "double"}
    world.athena.tables = lambda *_: Table(files, columns)
    assert world.rows("SELECT count(*) AS n FROM cur WHERE billing_period < '2026-11'") == [["n"], ["5"]]
    assert world.run("SELECT count(*) FROM cur")["Status"]["State"] == "FAILED"


def test_columns_that_came_later_are_null_in_older_files(world: World, tmp_path: Path) -> None:
    newer = _write(
        tmp_path / "11.parquet", ROWS["2026-10"].replace("2026-10", "2026-11"), ", 0.25 AS net_cost"
    )
    world.files = [*world.files, TableFile(newer, {"billing_period": "2026-11"})]
    sql = "SELECT billing_period, sum(net_cost) AS net, count(*) FROM cur GROUP BY billing_period ORDER BY 1"
    assert world.rows(sql) == [
        ["billing_period", "net", "_col2"],
        ["2026-09", None, "2"],
        ["2026-10", None, "3"],
        ["2026-11", "0.75", "3"],
    ]
    # As in Glue, a column exists only once the table has it.
    world.athena.tables = lambda *_: Table(world.files, {"line_item_product_code": "string"})
    reason = world.run("SELECT net_cost FROM cur")["Status"]["StateChangeReason"]
    assert reason.startswith("COLUMN_NOT_FOUND: line 1:8: Column 'net_cost' cannot be resolved")


def test_gzipped_csv_is_read_as_text(world: World, tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    duckdb.connect().execute(f"COPY (SELECT 1.5 AS cost, 'x' AS name) TO '{path}' (FORMAT csv, HEADER)")
    world.athena.tables = lambda *_: Table([TableFile(path)])
    assert world.rows("SELECT sum(CAST(cost AS decimal(10, 2))) AS cost FROM t") == [["cost"], ["1.50"]]
    assert "TYPE_MISMATCH" in world.run("SELECT cost + 1 FROM t")["Status"]["StateChangeReason"]


def test_keys_of_maps_are_read_with_element_at_only_where_some_lines_lack_them(world: World) -> None:
    sql = (
        "SELECT element_at(resource_tags, 'user_team') AS team, count(*) AS n FROM cur"
        " GROUP BY element_at(resource_tags, 'user_team') ORDER BY n DESC, team"
    )
    assert world.rows(sql)[1:] == [[None, "3"], ["data", "2"]]
    strict = "SELECT resource_tags['user_team'] AS team FROM cur WHERE cardinality(resource_tags) > {}"
    # All lines with two keys have this one; a line with one key lacks it.
    assert world.rows(strict.format(1)) == [["team"], ["data"]]
    failed = world.run(strict.format(0))["Status"]
    assert failed["StateChangeReason"] == "INVALID_FUNCTION_ARGUMENT: Key not present in map: user_team"
    assert world.rows("SELECT DISTINCT k FROM cur CROSS JOIN UNNEST(map_keys(resource_tags)) AS u(k) ORDER BY k") == [
        ["k"], ["user_env"], ["user_team"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nope FROM cur", "COLUMN_NOT_FOUND: line 1:8: Column 'nope' cannot be resolved"),
        ("SELECT 1 FROM nope", "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.billing.nope' does not exist"),
        ("SELECT 1 FROM other.cur", "TABLE_NOT_FOUND: line 1:"),
        ("SELECT line_item_product_code AS s, count(*) FROM cur GROUP BY s", "COLUMN_NOT_FOUND: line 1:64: Column 's'"),
        ("SELECT line_item_product_code AS s FROM cur WHERE s = 'x'", "COLUMN_NOT_FOUND"),
        ("SELECT 1 FROM cur WHERE line_item_usage_start_date >= '2026-10-01'",
         "TYPE_MISMATCH: Cannot apply operator: timestamp(3) >= varchar(10)"),
        ("SELECT 1 FROM cur WHERE line_item_usage_start_date BETWEEN '2026' AND '2027'",
         "TYPE_MISMATCH: Cannot check if timestamp(3) is BETWEEN varchar(4) and varchar(4)"),
        ("SELECT 1 FROM cur WHERE billing_period = 2026", "TYPE_MISMATCH: Cannot apply operator: varchar = integer"),
        ("SELECT 1 FROM cur WHERE billing_period IN (1, 2)", "TYPE_MISMATCH: IN value"),
        ("SELECT coalesce(line_item_product_code, 0) FROM cur", "TYPE_MISMATCH: All COALESCE"),
        ("SELECT CASE WHEN true THEN 'a' ELSE line_item_unblended_cost END FROM cur", "TYPE_MISMATCH"),
        ("SELECT sum(line_item_product_code) FROM cur", "FUNCTION_NOT_FOUND: Unexpected parameters (varchar)"),
        ("SELECT CAST(line_item_unblended_cost AS decimal(28, 10)) / 4 FROM cur", "NOT_SUPPORTED: A quotient of decimals"),
        ("SELECT strftime(line_item_usage_start_date, '%Y') FROM cur",
         "FUNCTION_NOT_FOUND: line 1:8: Function 'strftime' not registered"),
        ("SELECT * FROM read_csv('/etc/passwd')", "FUNCTION_NOT_FOUND: line 1:15: Function 'read_csv'"),
        ("SELECT 1 FROM \"/etc/passwd\"", "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.billing./etc/passwd'"),
    ],
)  # fmt: skip
def test_what_athena_cannot_run_fails_in_its_words(world: World, sql: str, reason: str) -> None:
    status = world.run(sql)["Status"]
    assert status["State"] == "FAILED"
    found = status["StateChangeReason"]
    # Where exactly Athena sees two types that do not fit is not simulated.
    assert found.startswith(reason) or re.sub(r"line 1:\d+: ", "", found).startswith(reason)
    assert status["AthenaError"]["ErrorCategory"] == 2
    assert status["AthenaError"]["ErrorMessage"] == status["StateChangeReason"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1 FROM cur",
        "SELECT FROM WHERE",
        "SELECT 1; SELECT 2",
        "SELECT line_item_unblended_cost::decimal(28, 10) FROM cur",
        "SELECT line_item_product_code, count(*) FROM cur GROUP BY ALL",
        "SELECT * EXCLUDE (billing_period) FROM cur",
        "DROP TABLE cur",
        "UNLOAD (SELECT 1) TO 's3://results/x/' WITH (format = 'AVRO')",
    ],
)
def test_what_is_no_query_of_athena_is_refused_at_once(world: World, sql: str) -> None:
    with pytest.raises(ClientError) as caught:
        world.start(sql)
    assert caught.value.response["Error"]["Code"] == "InvalidRequestException"
    assert caught.value.response["AthenaErrorCode"] == "MALFORMED_QUERY"


def test_functions_of_athena_mean_the_same(world: World) -> None:
    sql = (
        "SELECT date_format(max(line_item_usage_start_date), '%Y-%m-%d') AS day, date_trunc('hour', max(line_item_usage_start_date)),"
        " CAST(max(line_item_usage_start_date) AS date), 7 / 2, split_part('a/b/c', '/', 2), if(count(*) > 1, 'many', 'one'),"
        " try_cast('x' AS bigint), max_by(line_item_product_code, line_item_unblended_cost), 1e-4, true,"
        " CAST(ROUND(sum(line_item_unblended_cost) * 1e10) AS bigint) FROM billing.cur -- a comment"
    )
    assert world.rows(sql)[1] == [
        "2026-10-02", "2026-10-02 05:00:00.000", "2026-10-02", "3", "b", "many", None, "AmazonEC2", "1.0E-4", "true",
        "172250000000",
    ]  # fmt: skip


def test_pages_have_a_thousand_rows_with_the_header(world: World) -> None:
    identifier = world.run("SELECT n FROM UNNEST(sequence(1, 2500)) AS t(n) ORDER BY n")["QueryExecutionId"]
    pages: list[list[str]] = []
    token: dict[str, str] = {}
    while True:
        answer = world.client.get_query_results(QueryExecutionId=identifier, **token)
        pages.append([row["Data"][0]["VarCharValue"] for row in answer["ResultSet"]["Rows"]])
        if not answer.get("NextToken"):
            break
        token = {"NextToken": answer["NextToken"]}
    assert [len(page) for page in pages] == [1000, 1000, 501]
    assert [cell for page in pages for cell in page] == ["n", *map(str, range(1, 2501))]
    refused = error_code(world.client.get_query_results, QueryExecutionId=identifier, NextToken="other")
    assert refused == "InvalidRequestException"


def test_over_the_cutoff_a_query_is_cancelled_and_charged_up_to_it(world: World) -> None:
    small, large = (file.path.stat().st_size for file in world.files)
    world.athena.size_factor = 10_000_000 // small
    assert large > small
    within = world.run("SELECT 1 FROM cur WHERE billing_period = '2026-09'")
    assert within["Status"]["State"] == "SUCCEEDED"
    assert within["Statistics"]["DataScannedInBytes"] == small * world.athena.size_factor <= 10_000_000
    over = world.run("SELECT 1 FROM cur")
    assert over["Status"]["State"] == "CANCELLED"
    assert over["Status"]["StateChangeReason"] == "Bytes scanned limit was exceeded"
    assert over["Statistics"]["DataScannedInBytes"] == 10_000_000
    refused = error_code(world.client.get_query_results, QueryExecutionId=over["QueryExecutionId"])
    assert refused == "InvalidRequestException"


def test_unload_writes_objects_and_a_manifest_and_never_over_others(world: World, tmp_path: Path) -> None:
    query = "SELECT n, CAST(n AS decimal(28, 10)) * CAST('0.25' AS decimal(3, 2)) AS q FROM UNNEST(sequence(1, 60000)) AS t(n)"
    unload = f"UNLOAD ({query}) TO 's3://results/months/a/' WITH (format = 'PARQUET', compression = 'snappy')"
    done = world.run(unload)
    assert done["Status"]["State"] == "SUCCEEDED"
    assert done["SubstatementType"] == "UNLOAD"
    manifest = done["Statistics"]["DataManifestLocation"].removeprefix("s3://results/")
    listed = world.athena.objects["results", manifest].decode().split()
    paths = []
    for number, location in enumerate(listed):
        paths.append(tmp_path / f"{number}")
        paths[-1].write_bytes(world.athena.objects["results", location.removeprefix("s3://results/")])
    assert len(paths) == 2
    read = duckdb.read_parquet([str(path) for path in paths]).aggregate("count(*), sum(n), sum(q)")
    assert read.fetchall() == [(60000, 1800030000, 450007500)]
    results = world.client.get_query_results(QueryExecutionId=done["QueryExecutionId"])
    assert (results["ResultSet"]["Rows"], results["UpdateCount"]) == ([], 60000)

    again = world.run(unload)["Status"]
    assert again["State"] == "FAILED"
    assert again["StateChangeReason"].startswith("HIVE_PATH_ALREADY_EXISTS")


def test_a_bucket_that_is_not_there_fails_the_query(world: World) -> None:
    def put(bucket: str, key: str, body: bytes) -> None:
        raise KeyError(bucket)

    world.athena.put = put
    assert world.run(BY_SERVICE)["Status"]["StateChangeReason"].startswith("The S3 location provided")


def test_a_request_token_starts_one_query_only(world: World) -> None:
    token = str(uuid.uuid4())
    first = world.start(BY_SERVICE, ClientRequestToken=token)
    assert world.start(BY_SERVICE, ClientRequestToken=token) == first
    assert world.start(BY_SERVICE) != first
    asked = {"WorkGroup": "costs", "ClientRequestToken": token}
    code = error_code(world.client.start_query_execution, QueryString="SELECT 1", **asked)
    assert code == "InvalidRequestException"


def test_a_reused_result_is_the_old_one_even_if_the_data_changed(
    world: World, aws: SimulatedAws, tmp_path: Path
) -> None:
    reuse = {
        "ResultReuseConfiguration": {
            "ResultReuseByAgeConfiguration": {"Enabled": True, "MaxAgeInMinutes": 60}
        }
    }
    old = world.rows(BY_SERVICE)
    changed = _write(tmp_path / "changed.parquet", "('2026-10-01'::timestamp, 'AmazonEC2', 99.0, NULL)")
    world.files[1] = TableFile(changed, {"billing_period": "2026-10"})
    reused = world.run(BY_SERVICE, **reuse)
    assert reused["Statistics"]["ResultReuseInformation"] == {"ReusedPreviousResult": True}
    assert reused["Statistics"]["DataScannedInBytes"] == 0
    assert world.rows(BY_SERVICE, **reuse) == old
    new = world.rows(BY_SERVICE)
    assert new == [["service", "cost"], ["AmazonEC2", "99.0000000000"]]
    # Another text, such as one with the version of the data in a comment, is another query.
    other = world.run(f"{BY_SERVICE} -- version 2", **reuse)["Statistics"]
    assert not other["ResultReuseInformation"]["ReusedPreviousResult"]
    assert other["DataScannedInBytes"] > 0
    aws.clock.advance(timedelta(minutes=61))
    assert not world.run(BY_SERVICE, **reuse)["Statistics"]["ResultReuseInformation"]["ReusedPreviousResult"]


def test_a_query_can_be_stopped(world: World) -> None:
    world.athena.running_polls = 10**6
    identifier = world.start(BY_SERVICE)
    assert world.execution(identifier)["Status"]["State"] == "QUEUED"
    world.client.stop_query_execution(QueryExecutionId=identifier)
    stopped = world.execution(identifier)
    assert (stopped["Status"]["State"], stopped["Status"]["StateChangeReason"]) == (
        "CANCELLED", "Query cancelled by user",
    )  # fmt: skip
    world.client.stop_query_execution(QueryExecutionId=identifier)


def test_results_of_a_query_that_runs_or_failed_are_refused(world: World) -> None:
    running = world.start(BY_SERVICE)
    results = world.client.get_query_results
    assert error_code(results, QueryExecutionId=running) == "InvalidRequestException"
    failed = world.run("SELECT nope FROM cur")["QueryExecutionId"]
    assert error_code(results, QueryExecutionId=failed) == "InvalidRequestException"
    unknown = str(uuid.uuid4())
    assert error_code(world.client.get_query_execution, QueryExecutionId=unknown) == "InvalidRequestException"


def test_faults_throttle_fail_and_hang(world: World, aws: SimulatedAws) -> None:
    aws.faults.add("throttle", service="athena", operation="StartQueryExecution", count=1)
    asked = {"QueryString": BY_SERVICE, "WorkGroup": "costs"}
    assert error_code(world.client.start_query_execution, **asked) == "TooManyRequestsException"

    aws.faults.add("query_fails", service="athena", operation="StartQueryExecution", count=1)
    failed = world.run(BY_SERVICE)
    assert failed["Status"]["State"] == "FAILED"
    assert failed["Status"]["AthenaError"]["Retryable"] is True
    assert failed["Statistics"]["DataScannedInBytes"] > 0

    hang = aws.faults.add("query_hangs", service="athena", operation="GetQueryExecution")
    identifier = world.start(BY_SERVICE)
    assert {world.execution(identifier)["Status"]["State"] for _ in range(30)} == {"RUNNING"}
    aws.faults.clear(hang)
    assert world.end(identifier)["Status"]["State"] == "SUCCEEDED"

    world.athena.active_limit = 0
    with pytest.raises(ClientError) as caught:
        world.start(BY_SERVICE)
    assert caught.value.response["Reason"] == "CONCURRENT_QUERY_LIMIT_EXCEEDED"


def test_a_workgroup_shows_its_cutoff_or_none(world: World) -> None:
    def configuration(name: str) -> dict[str, Any]:
        return dict(world.client.get_work_group(WorkGroup=name)["WorkGroup"]["Configuration"])

    limited = configuration("costs")
    assert limited["BytesScannedCutoffPerQuery"] == 10_000_000
    assert limited["ResultConfiguration"] == {"OutputLocation": OUTPUT}
    assert "BytesScannedCutoffPerQuery" not in configuration("primary")
    assert error_code(world.client.get_work_group, WorkGroup="nope") == "InvalidRequestException"


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (lambda athena: None, {"WorkGroup": "nope"}),
        (lambda athena: None, {"WorkGroup": "primary"}),  # it has no place for results
        (lambda athena: setattr(athena.workgroups["costs"], "enabled", False), {"WorkGroup": "costs"}),
        (lambda athena: None, {"WorkGroup": "costs", "ExecutionParameters": ["1"]}),
    ],
)
def test_a_query_needs_a_workgroup_and_a_place_for_results(
    world: World, change: Callable[[Athena], None], asked: dict[str, Any]
) -> None:
    change(world.athena)
    code = error_code(world.client.start_query_execution, QueryString="SELECT 1", **asked)
    assert code == "InvalidRequestException"


def test_managed_results_need_no_bucket(world: World) -> None:
    world.athena.workgroups["managed"] = WorkGroup("managed", managed_results=True)
    done = world.run("SELECT 1 AS one", WorkGroup="managed")
    assert done["ManagedQueryResultsConfiguration"] == {"Enabled": True}
    assert world.athena.objects == {}
    answer = world.client.get_query_results(QueryExecutionId=done["QueryExecutionId"])
    assert [row["Data"][0]["VarCharValue"] for row in answer["ResultSet"]["Rows"]] == ["one", "1"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.0"), (-0.5, "-0.5"), (1e-3, "0.001"), (9.99e-4, "9.99E-4"), (1e7, "1.0E7"), (9999999.5, "9999999.5"),
        (123456789.125, "1.23456789125E8"), (-2.5e-10, "-2.5E-10"), (float("nan"), "NaN"), (float("-inf"), "-Infinity"),
        (None, None), ([1, None], "[1, null]"), ({"a": "b", "c": None}, "{a=b, c=null}"), (True, "true"),
    ],
)  # fmt: skip
def test_values_are_written_as_java_writes_them(value: Any, written: str | None) -> None:
    assert text(value) == written


def test_columns_and_objects_of_results() -> None:
    kinds = ["DECIMAL(38,10)", "HUGEINT", "TIMESTAMP", "MAP(VARCHAR, VARCHAR)", "INTEGER[]", "DOUBLE"]
    found = [(each["Type"], each["Precision"], each["Scale"]) for each in column_info(list("abcdef"), kinds)]
    assert found[:3] == [("decimal", 38, 10), ("decimal", 38, 0), ("timestamp", 3, 0)]
    assert [name for name, *_ in found[3:]] == ["map", "array", "double"]
    assert to_csv(['a"b'], [[None], ['"']]) == b'"a""b"\n\n""""\n'
