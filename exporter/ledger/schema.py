"""The tables of the ledger's file, and how a file of an older version gets them."""

from __future__ import annotations

from exporter.core.amounts import AMOUNTS

MIGRATIONS = (
    # Each entry takes the file from the version of its index to the next.
    f"""
    CREATE TABLE series (
        id INTEGER PRIMARY KEY, account_id TEXT NOT NULL, service TEXT NOT NULL,
        UNIQUE (account_id, service)
    );
    CREATE TABLE cost (
        day INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES series,
        {"".join(f"total_{name} INTEGER NOT NULL DEFAULT 0, " for name in AMOUNTS)}
        {"".join(f"other_{name} INTEGER NOT NULL DEFAULT 0, " for name in AMOUNTS)}
        estimated INTEGER NOT NULL, observed_at INTEGER NOT NULL,
        PRIMARY KEY (day, series)
    ) WITHOUT ROWID;
    CREATE TABLE days (
        day INTEGER PRIMARY KEY, read_at INTEGER, other_read_at INTEGER,
        moved INTEGER NOT NULL DEFAULT 0, other_moved INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE day_totals (
        day INTEGER NOT NULL, observed_at INTEGER NOT NULL, unblended INTEGER NOT NULL,
        PRIMARY KEY (day, observed_at)
    ) WITHOUT ROWID;
    CREATE TABLE scans (kind TEXT PRIMARY KEY, observed_at INTEGER NOT NULL);
    CREATE TABLE charges (
        at INTEGER NOT NULL, budget TEXT NOT NULL, service TEXT NOT NULL, operation TEXT NOT NULL,
        units INTEGER NOT NULL
    );
    CREATE INDEX charges_by_budget ON charges (budget, at, units);
    CREATE TABLE account_names (
        account_id TEXT NOT NULL, since INTEGER NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY (account_id, since)
    ) WITHOUT ROWID;
    CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    """,
    """
    CREATE TABLE forecasts (
        cost_type TEXT NOT NULL, level INTEGER NOT NULL, observed_at INTEGER NOT NULL, start INTEGER NOT NULL,
        mean INTEGER, lower INTEGER, upper INTEGER,
        PRIMARY KEY (cost_type, level, observed_at)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE history_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE stamps (
        day INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES series,
        stamp INTEGER NOT NULL, name_id INTEGER NOT NULL REFERENCES history_names,
        units INTEGER, refused INTEGER,
        PRIMARY KEY (day, series)
    ) WITHOUT ROWID;
    CREATE TABLE history_days (day INTEGER PRIMARY KEY, read_at INTEGER NOT NULL)
    """,
    """
    CREATE TABLE account_ous (
        account_id TEXT NOT NULL, since INTEGER NOT NULL, ou TEXT NOT NULL,
        PRIMARY KEY (account_id, since)
    ) WITHOUT ROWID
    """,
    f"""
    CREATE TABLE breakdowns (
        month INTEGER NOT NULL, key TEXT NOT NULL, account_id TEXT NOT NULL, value TEXT NOT NULL,
        {"".join(f"{name} INTEGER NOT NULL, " for name in AMOUNTS)}
        PRIMARY KEY (month, key, account_id, value)
    ) WITHOUT ROWID;
    CREATE TABLE breakdown_reads (
        month INTEGER NOT NULL, key TEXT NOT NULL, observed_at INTEGER NOT NULL, PRIMARY KEY (month, key)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE anomaly_cause_reads (
        day INTEGER NOT NULL, account_id TEXT NOT NULL, service TEXT NOT NULL,
        compared_with INTEGER NOT NULL, observed_at INTEGER NOT NULL,
        PRIMARY KEY (day, account_id, service)
    ) WITHOUT ROWID;
    CREATE TABLE anomaly_causes (
        day INTEGER NOT NULL, account_id TEXT NOT NULL, service TEXT NOT NULL,
        usage_type TEXT NOT NULL, operation TEXT NOT NULL, region TEXT NOT NULL,
        before INTEGER NOT NULL, after INTEGER NOT NULL,
        PRIMARY KEY (day, account_id, service, usage_type, operation)
    ) WITHOUT ROWID
    """,
    # Usage (exporter/usage/counters.py) and dated families other than cost (exporter/ledger/daily_values.py).
    """
    CREATE TABLE usage_targets (
        id INTEGER PRIMARY KEY, source TEXT NOT NULL, account_id TEXT NOT NULL, region TEXT NOT NULL,
        epoch INTEGER, covered_from INTEGER, read_through INTEGER,
        polled_at INTEGER, daily_polled_at INTEGER, listed_at INTEGER, period INTEGER,
        UNIQUE (source, account_id, region)
    );
    CREATE TABLE usage_series (
        id INTEGER PRIMARY KEY, target INTEGER NOT NULL REFERENCES usage_targets, metric TEXT NOT NULL,
        resource_id TEXT NOT NULL, variant TEXT NOT NULL, dimensions TEXT NOT NULL,
        listed_at INTEGER NOT NULL, final_before INTEGER,
        total REAL NOT NULL DEFAULT 0, level REAL, level_at INTEGER,
        UNIQUE (target, metric, resource_id, variant)
    );
    CREATE TABLE usage_amounts (
        series INTEGER NOT NULL REFERENCES usage_series, period INTEGER NOT NULL, amount REAL NOT NULL,
        PRIMARY KEY (series, period)
    ) WITHOUT ROWID;
    CREATE TABLE usage_born (
        target INTEGER NOT NULL, metric TEXT NOT NULL, resource_id TEXT NOT NULL, variant TEXT NOT NULL,
        PRIMARY KEY (target, metric, resource_id, variant)
    ) WITHOUT ROWID;
    CREATE TABLE usage_days (
        target INTEGER NOT NULL REFERENCES usage_targets, metric TEXT NOT NULL, day INTEGER NOT NULL,
        amount REAL NOT NULL, PRIMARY KEY (target, metric, day)
    ) WITHOUT ROWID;
    CREATE TABLE dated_series (
        id INTEGER PRIMARY KEY, family TEXT NOT NULL, account_id TEXT NOT NULL, label TEXT NOT NULL,
        UNIQUE (family, account_id, label)
    );
    CREATE TABLE dated_values (
        day INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES dated_series,
        value REAL NOT NULL, observed_at INTEGER NOT NULL, PRIMARY KEY (day, series)
    ) WITHOUT ROWID;
    CREATE TABLE dated_days (day INTEGER PRIMARY KEY, read_at INTEGER NOT NULL);
    CREATE TABLE dated_stamps (
        day INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES dated_series,
        stamp INTEGER NOT NULL, name_id INTEGER NOT NULL REFERENCES history_names,
        units REAL, refused REAL, PRIMARY KEY (day, series)
    ) WITHOUT ROWID;
    CREATE TABLE dated_history_days (day INTEGER PRIMARY KEY, read_at INTEGER NOT NULL)
    """,
    """
    CREATE TABLE resources_seen (
        account_id TEXT NOT NULL, region TEXT NOT NULL, unit TEXT NOT NULL, id TEXT NOT NULL,
        since INTEGER NOT NULL,
        PRIMARY KEY (account_id, region, unit, id)
    ) WITHOUT ROWID;
    CREATE TABLE prices (
        region TEXT NOT NULL, key TEXT NOT NULL, units INTEGER NOT NULL, read_at INTEGER NOT NULL,
        PRIMARY KEY (region, key)
    ) WITHOUT ROWID
    """,
    # What each series was on each of the last days: of sums their total, of levels the highest.
    """
    CREATE TABLE usage_series_days (
        series INTEGER NOT NULL REFERENCES usage_series, day INTEGER NOT NULL, amount REAL NOT NULL,
        PRIMARY KEY (series, day)
    ) WITHOUT ROWID
    """,
    # Savings Plans and reservations (exporter/cost/commitments.py); money and ratios in units of 1e-10.
    """
    CREATE TABLE commitments (
        kind TEXT NOT NULL, service TEXT NOT NULL, days INTEGER NOT NULL, start INTEGER NOT NULL,
        observed_at INTEGER NOT NULL, utilization INTEGER, used INTEGER, unused INTEGER,
        coverage INTEGER, on_demand INTEGER,
        PRIMARY KEY (kind, service, days)
    ) WITHOUT ROWID
    """,
    # Findings of AWS Cost Anomaly Detection (exporter/cost/detected_anomalies.py): those of the last read.
    """
    CREATE TABLE detected_anomalies (
        id TEXT NOT NULL, monitor TEXT NOT NULL, last_day INTEGER NOT NULL,
        account_id TEXT NOT NULL, service TEXT NOT NULL, units INTEGER NOT NULL,
        PRIMARY KEY (id, account_id, service)
    ) WITHOUT ROWID;
    CREATE TABLE detected_anomaly_reads (observed_at INTEGER NOT NULL, days INTEGER NOT NULL)
    """,
    # Assessed days whose figures are dated values (exporter/anomalies/history.py), and what they were made of.
    "CREATE TABLE assessed_days (day INTEGER PRIMARY KEY, version INTEGER NOT NULL)",
    # What is left of a refresh that is read in slices: its oldest days, up to `end`.
    """
    CREATE TABLE refresh_rest (
        part TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, began_at INTEGER NOT NULL
    )
    """,
    # The first day with cost, kept by each commit: to look for it would be to read every row.
    """
    ALTER TABLE series ADD COLUMN first_day INTEGER;
    UPDATE series SET first_day = found.day FROM (
        SELECT series, MIN(day) AS day FROM cost WHERE total_unblended != 0 GROUP BY series
    ) AS found WHERE found.series = series.id
    """,
    # Of days that moved: the accounts or services that a scan saw differ, and their totals as it saw them.
    """
    CREATE TABLE moved_subjects (
        day INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, seen TEXT NOT NULL,
        PRIMARY KEY (day, kind, subject)
    ) WITHOUT ROWID
    """,
    # Refused samples are few, and looked for at each start.
    """
    CREATE INDEX stamps_refused ON stamps (day) WHERE refused IS NOT NULL;
    CREATE INDEX dated_stamps_refused ON dated_stamps (day) WHERE refused IS NOT NULL
    """,
    # Services that are served by name (exporter/ledger/named_services.py), of accounts that have too many.
    """
    CREATE TABLE named_services (
        account_id TEXT NOT NULL, service TEXT NOT NULL, PRIMARY KEY (account_id, service)
    ) WITHOUT ROWID
    """,
    # Until when the alert of a spike waits for its cause (exporter/anomalies/causes.py); 0 if it does not.
    """
    CREATE TABLE anomaly_cause_waits (
        day INTEGER NOT NULL, account_id TEXT NOT NULL, service TEXT NOT NULL, until INTEGER NOT NULL,
        PRIMARY KEY (day, account_id, service)
    ) WITHOUT ROWID
    """,
    # Findings of the last weeks, and whether a message was sent of them (exporter/anomalies/messages.py).
    """
    CREATE TABLE anomaly_messages (
        account_id TEXT NOT NULL, subject TEXT NOT NULL, kind TEXT NOT NULL,
        first_day INTEGER NOT NULL, last_day INTEGER NOT NULL, sent INTEGER NOT NULL,
        usd REAL, decided_at INTEGER NOT NULL,
        PRIMARY KEY (account_id, subject, kind, first_day)
    ) WITHOUT ROWID
    """,
    # When a day was read whole, what is to be read again (exporter/ledger/pending.py), and the keys whose month
    # differed when it was compared last (exporter/ledger/months.py).
    """
    ALTER TABLE days ADD COLUMN whole_at INTEGER;
    UPDATE days SET whole_at = read_at;
    CREATE TABLE pending_reads (
        id INTEGER PRIMARY KEY, origin TEXT NOT NULL, part TEXT NOT NULL,
        start INTEGER NOT NULL, end INTEGER NOT NULL, kind TEXT, names TEXT, began_at INTEGER NOT NULL
    );
    CREATE TABLE month_differences (
        part TEXT NOT NULL, month INTEGER NOT NULL, account_id TEXT NOT NULL, service TEXT NOT NULL,
        seen TEXT NOT NULL, reads INTEGER NOT NULL,
        PRIMARY KEY (part, month, account_id, service)
    ) WITHOUT ROWID
    """,
    # Days of which dated values were derived from others (exporter/ledger/daily_values.py), and what of.
    """
    CREATE TABLE derived_days (
        kind TEXT NOT NULL, day INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (kind, day)
    ) WITHOUT ROWID;
    INSERT INTO derived_days SELECT 'assessed', day, version FROM assessed_days;
    DROP TABLE assessed_days
    """,
    # How often the cost of a day was found to be another one: what follows from it is derived again then.
    """
    ALTER TABLE days ADD COLUMN changes INTEGER NOT NULL DEFAULT 0
    """,
    # Cost by one dimension beside the account, or beside the service (exporter/cube/values.py), and months of lines
    # with every dimension (exporter/cube/months.py). An empty account or service is not known there.
    f"""
    CREATE TABLE cube_keys (
        id INTEGER PRIMARY KEY, dimension TEXT NOT NULL, account_id TEXT NOT NULL, service TEXT NOT NULL,
        value TEXT NOT NULL, UNIQUE (dimension, account_id, service, value)
    );
    CREATE TABLE cube_values (
        day INTEGER NOT NULL, key INTEGER NOT NULL REFERENCES cube_keys,
        {"".join(f"{name} INTEGER, " for name in AMOUNTS)}
        PRIMARY KEY (day, key)
    ) WITHOUT ROWID;
    CREATE TABLE cube_reads (
        dimension TEXT NOT NULL, beside TEXT NOT NULL, day INTEGER NOT NULL,
        read_at INTEGER NOT NULL, source TEXT NOT NULL, cost_changes INTEGER NOT NULL,
        changes INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (dimension, beside, day)
    ) WITHOUT ROWID;
    CREATE TABLE cube_months (
        month INTEGER PRIMARY KEY, source TEXT NOT NULL, version TEXT NOT NULL, folder TEXT,
        read_at INTEGER NOT NULL, details TEXT NOT NULL
    )
    """,
    # The month to date by a key is summed from its days now. When a day was read whole, and from when on days are
    # to be read again although their cost is the same (exporter/cube/rewrites.py).
    """
    DROP TABLE breakdowns;
    DROP TABLE breakdown_reads;
    ALTER TABLE cube_reads ADD COLUMN whole_at INTEGER NOT NULL DEFAULT 0;
    UPDATE cube_reads SET whole_at = read_at;
    CREATE TABLE cube_rewrites (
        kind TEXT NOT NULL, key TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (kind, key, start, end, at)
    ) WITHOUT ROWID;
    CREATE TABLE cost_category_definitions (name TEXT PRIMARY KEY, arn TEXT NOT NULL, digest TEXT NOT NULL)
    """,
    # Each Savings Plan and reservation (exporter/cost/commitments.py), and whether the kind was read one by one.
    """
    ALTER TABLE commitments ADD COLUMN one_by_one INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE single_commitments (
        kind TEXT NOT NULL, service TEXT NOT NULL, id TEXT NOT NULL, account_id TEXT NOT NULL,
        utilization INTEGER, used INTEGER NOT NULL, unused INTEGER NOT NULL, expires_at INTEGER,
        type TEXT NOT NULL, term TEXT NOT NULL, payment_option TEXT NOT NULL, region TEXT NOT NULL,
        instance TEXT NOT NULL, instances TEXT NOT NULL,
        PRIMARY KEY (kind, service, id)
    ) WITHOUT ROWID
    """,
    # What made a spike, by region and resource where lines show it; those are not counted as requests.
    """
    ALTER TABLE anomaly_cause_reads ADD COLUMN from_lines INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE anomaly_causes RENAME TO anomaly_causes_before;
    CREATE TABLE anomaly_causes (
        day INTEGER NOT NULL, account_id TEXT NOT NULL, service TEXT NOT NULL,
        usage_type TEXT NOT NULL, operation TEXT NOT NULL, region TEXT NOT NULL,
        before INTEGER NOT NULL, after INTEGER NOT NULL,
        PRIMARY KEY (day, account_id, service, usage_type, operation, region)
    ) WITHOUT ROWID;
    INSERT INTO anomaly_causes SELECT * FROM anomaly_causes_before;
    DROP TABLE anomaly_causes_before;
    CREATE TABLE anomaly_cause_resources (
        day INTEGER NOT NULL, account_id TEXT NOT NULL, service TEXT NOT NULL,
        usage_type TEXT NOT NULL, operation TEXT NOT NULL, region TEXT NOT NULL, resource TEXT NOT NULL,
        before INTEGER NOT NULL, after INTEGER NOT NULL,
        PRIMARY KEY (day, account_id, service, usage_type, operation, region, resource)
    ) WITHOUT ROWID
    """,
    # Cost by hour (exporter/cube/hours.py), and what of it is in the dated history.
    f"""
    CREATE TABLE hour_series (
        id INTEGER PRIMARY KEY, account_id TEXT NOT NULL, service TEXT NOT NULL,
        UNIQUE (account_id, service)
    );
    CREATE TABLE hour_costs (
        hour INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES hour_series,
        {"".join(f"{name} INTEGER, " for name in AMOUNTS)}
        observed_at INTEGER NOT NULL, PRIMARY KEY (hour, series)
    ) WITHOUT ROWID;
    CREATE TABLE hours (
        hour INTEGER PRIMARY KEY, read_at INTEGER NOT NULL, source TEXT NOT NULL, cost_changes INTEGER NOT NULL
    );
    CREATE TABLE hour_stamps (
        hour INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES hour_series,
        stamp INTEGER NOT NULL, name_id INTEGER NOT NULL REFERENCES history_names,
        units INTEGER, refused INTEGER,
        PRIMARY KEY (hour, series)
    ) WITHOUT ROWID;
    CREATE INDEX hour_stamps_refused ON hour_stamps (hour) WHERE refused IS NOT NULL;
    CREATE TABLE history_hours (hour INTEGER PRIMARY KEY, read_at INTEGER NOT NULL)
    """,
    # Where the cost of a day is from, and its cost types; NULL: Cost Explorer, which has all five. The months that an
    # export was looked at for (exporter/exports/delivery/looks.py).
    """
    ALTER TABLE days ADD COLUMN source TEXT;
    ALTER TABLE days ADD COLUMN cost_types TEXT;
    CREATE TABLE export_looks (
        month INTEGER PRIMARY KEY, looked_at INTEGER NOT NULL, version TEXT, delivered_at INTEGER, failure TEXT
    )
    """,
    # Queries of Athena that were paid for, or may have been (exporter/exports/athena/books.py).
    """
    CREATE TABLE athena_queries (
        month INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, token TEXT NOT NULL, query_id TEXT,
        reserved_at INTEGER NOT NULL, reserved INTEGER NOT NULL, state TEXT NOT NULL, outcome TEXT,
        PRIMARY KEY (month, name)
    ) WITHOUT ROWID
    """,
    # Of the lines of an export (exporter/exports/sums), in units of 1e-10 USD: of the newest days of a month, and of the
    # whole month (day 0); commitments by day.
    """
    CREATE TABLE export_resources (
        month INTEGER NOT NULL, day INTEGER NOT NULL, account_id TEXT NOT NULL, resource TEXT NOT NULL,
        service TEXT NOT NULL, region TEXT NOT NULL, units INTEGER NOT NULL,
        PRIMARY KEY (month, day, account_id, resource)
    ) WITHOUT ROWID;
    CREATE TABLE export_splits (
        month INTEGER NOT NULL, day INTEGER NOT NULL, account_id TEXT NOT NULL, kind TEXT NOT NULL,
        cluster TEXT NOT NULL, namespace TEXT NOT NULL, units INTEGER NOT NULL, unused INTEGER NOT NULL,
        PRIMARY KEY (month, day, account_id, kind, cluster, namespace)
    ) WITHOUT ROWID;
    CREATE TABLE export_list_costs (
        month INTEGER NOT NULL, account_id TEXT NOT NULL, units INTEGER NOT NULL, list_units INTEGER NOT NULL,
        PRIMARY KEY (month, account_id)
    ) WITHOUT ROWID;
    CREATE TABLE export_commitments (
        month INTEGER NOT NULL, day INTEGER NOT NULL, arn TEXT NOT NULL, kind TEXT NOT NULL,
        used INTEGER NOT NULL, unused INTEGER NOT NULL, end_time TEXT NOT NULL,
        PRIMARY KEY (day, arn)
    ) WITHOUT ROWID
    """,
    # How often a query of Athena has failed in a row, and when: one that was charged waits longer if it is sent alike.
    """
    ALTER TABLE athena_queries ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE athena_queries ADD COLUMN failed_at INTEGER;
    ALTER TABLE athena_queries ADD COLUMN sent_as TEXT
    """,
    # How a month differs between both sources (exporter/exports/sums/comparison.py).
    """
    CREATE TABLE source_comparisons (
        month INTEGER PRIMARY KEY, compared_at INTEGER NOT NULL, comparison TEXT NOT NULL
    )
    """,
)

SCHEMA_VERSION = len(MIGRATIONS)
"""The version of a ledger that this program writes."""
