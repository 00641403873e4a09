"""IAM permissions of queries: Athena reads tables, the export's files and its results with the role that asks."""

from __future__ import annotations

IAM_WORKGROUP = (
    "athena:GetQueryExecution",
    "athena:GetQueryResults",
    "athena:GetWorkGroup",
    "athena:StartQueryExecution",
    "athena:StopQueryExecution",
)
IAM_CATALOG = ("glue:GetDatabase", "glue:GetPartitions", "glue:GetTable")
IAM_RESULT_OBJECTS = (
    "s3:AbortMultipartUpload",
    "s3:GetObject",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
)
IAM_BUCKETS = ("s3:GetBucketLocation", "s3:ListBucket")
"""Of the bucket of results; of the export's, the location beside what reading it needs."""
