"""The bucket of an export: one object at a time, of one version, and nothing that no manifest names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from exporter.aws.clients import ATTEMPTS, Aws
from exporter.aws.errors import AwsError, Kind, classify, reading
from exporter.core.answer_limits import answer_within
from exporter.core.places import Account

IAM_OBJECTS = ("s3:GetObject",)
IAM_BUCKET = ("s3:ListBucket",)
"""Without it, S3 answers 403 where there is no object; only manifests are listed, where each delivery has its own."""
IAM_KEY = ("kms:Decrypt",)

_LEAST_BYTES_A_SECOND = 256 << 10
_LEAST_SECONDS = 60.0
_BESIDE_BYTES = 1 << 20  # what comes with an object, such as headers
_CHUNK = 1 << 20
_MISSING = frozenset({"404", "NoSuchKey"})
_CHANGED = frozenset({"412", "PreconditionFailed"})


class MissingError(Exception):
    """There is no such object."""


class ChangedError(Exception):
    """An object is not what it was when it was looked at."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of an object."""

    key: str
    etag: str
    size: int
    modified: datetime


class ExportBucket:
    """Reads objects of one bucket; AwsError for what AWS refuses, after the client's own attempts."""

    def __init__(self, aws: Aws, reader: Account | None, bucket: str, region: str, owner: str | None) -> None:
        """`reader` is the account whose role reads, None for the payer; a bucket of another than `owner` is refused."""
        self.name = bucket
        self._aws = aws
        self._reader = reader
        self._region = region
        self._where: Mapping[str, Any] = {"Bucket": bucket} | (
            {"ExpectedBucketOwner": owner} if owner else {}
        )

    def look(self, key: str) -> StoredObject:
        """What is there now; MissingError if nothing is."""
        return self._stored(key, self._call("HeadObject", key))

    def read(self, stored: StoredObject, most_bytes: int) -> bytes:
        """This version of a small object; ChangedError or MissingError if it is not there any more."""
        if stored.size > most_bytes:
            raise AwsError(Kind.EXPORT, f"s3://{self.name}/{stored.key} has {stored.size} bytes")
        answer = self._call("GetObject", stored.key, IfMatch=stored.etag)
        with (
            closing(answer["Body"]) as body,
            answer_within(_seconds(stored.size), stored.size + _BESIDE_BYTES),
        ):
            try:
                found: bytes = body.read()
            except Exception as error:
                raise classify(error, f"s3 GetObject of {stored.key}") from error
        return found

    def newest(self, prefix: str, ending: str) -> StoredObject:
        """The object below a prefix whose key ends so and that was written last; MissingError if there is none.

        Only for what is small and few, as manifests: data files are never listed.
        """
        pages = self._aws.paginate(
            self._reader, "s3", "ListObjectsV2", self._region, {**self._where, "Prefix": prefix}
        )
        with reading(f"S3's list of {prefix}"):
            found = [
                StoredObject(each["Key"], str(each["ETag"]), int(each["Size"]), each["LastModified"])
                for page in pages
                for each in page.get("Contents", ())
                if each["Key"].endswith(ending)
            ]
        if not found:
            raise MissingError(f"s3://{self.name}/{prefix} has no manifest")
        return max(found, key=lambda each: (each.modified, each.key))

    def fetch(self, stored: StoredObject, path: Path) -> None:
        """Write this version of an object to `path`; ChangedError or MissingError if it is not there any more."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._fetch(stored, path)
                return
            except AwsError as error:
                # The client repeats a request, but not a download that breaks off: that starts again here.
                if not error.retryable or attempt == ATTEMPTS:
                    raise

    def _fetch(self, stored: StoredObject, path: Path) -> None:
        answer = self._call("GetObject", stored.key, IfMatch=stored.etag)
        request = f"s3 GetObject of {stored.key}"
        written = 0
        with (
            closing(answer["Body"]) as body,
            path.open("wb") as file,
            answer_within(_seconds(stored.size), stored.size + _BESIDE_BYTES) as limit,
        ):
            while True:
                if self._aws.is_stopping:
                    raise AwsError(Kind.STOPPED, "the exporter is stopping", request=request)
                try:
                    chunk = body.read(_CHUNK)
                except Exception as error:
                    if limit.exceeded == "seconds":
                        raise AwsError(Kind.TIMEOUT, limit.reason, request=request) from error
                    raise classify(error, request) from error
                if not chunk:
                    break
                written += file.write(chunk)
        if written != stored.size:
            raise AwsError(Kind.MALFORMED_RESPONSE, f"{written} bytes came of {stored.size}", request=request)

    def _call(self, operation: str, key: str, **params: str) -> dict[str, Any]:
        try:
            return self._aws.call(
                self._reader, "s3", operation, self._region, {**self._where, "Key": key, **params}
            )
        except AwsError as error:
            if error.code in _MISSING:
                raise MissingError(f"s3://{self.name}/{key} is missing") from error
            if error.code in _CHANGED:
                raise ChangedError(f"s3://{self.name}/{key} was replaced while the month was read") from error
            raise

    def _stored(self, key: str, answer: Mapping[str, Any]) -> StoredObject:
        with reading(f"S3's answer about {key}"):
            return StoredObject(
                key, str(answer["ETag"]), int(answer["ContentLength"]), answer["LastModified"]
            )


def _seconds(size: int) -> float:
    return max(_LEAST_SECONDS, size / _LEAST_BYTES_A_SECOND)


def reader_account(role_arn: str | None, external_id: str | None) -> Account | None:
    """Who reads the bucket: a role, or None for the payer."""
    if role_arn is None:
        return None
    found = re.fullmatch(r"arn:[^:]+:iam::(\d{12}):role/.+", role_arn)
    assert found is not None  # a RoleArn
    return Account(found[1], "the export's bucket", role_arn=role_arn, external_id=external_id)
