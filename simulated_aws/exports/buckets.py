"""Buckets whose objects lie in a folder of this machine, and the S3 API that reads and writes them."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from simulated_aws.wire import AwsCall, AwsError, Response, xml_response

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_MOST_KEYS = 1000


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; `etag` is without quotes."""

    path: Path
    etag: str
    size: int
    modified: datetime


@dataclass(slots=True)
class Bucket:
    """A bucket of an account. `readers` are the other accounts that its policy lets in; None lets in every account."""

    name: str
    account_id: str
    region: str = "us-east-1"
    readers: set[str] | None = None
    objects: dict[str, StoredObject] = field(default_factory=dict)


class Buckets:
    """Buckets and their objects; safe to use from several threads."""

    def __init__(self, now: Callable[[], datetime], *, page_size: int = _MOST_KEYS) -> None:
        self._now = now
        self.page_size = page_size
        self._lock = threading.RLock()
        self._buckets: dict[str, Bucket] = {}
        self._folder: Path | None = None
        self._serial = 0

    @property
    def folder(self) -> Path:
        """Where the objects' files lie; made on first use, gone after close."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="simulated-buckets-"))
            return self._folder

    def close(self) -> None:
        """Remove every object and its file."""
        with self._lock:
            self._buckets.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def create(self, name: str, account_id: str, region: str = "us-east-1") -> Bucket:
        """The bucket of this name, which is made unless it exists; ValueError when it is another account's."""
        with self._lock:
            bucket = self._buckets.setdefault(name, Bucket(name, account_id, region))
            if bucket.account_id != account_id:
                raise ValueError(f"the bucket {name} belongs to {bucket.account_id}")
            return bucket

    def get(self, name: str) -> Bucket | None:
        """The bucket, None where there is none."""
        with self._lock:
            return self._buckets.get(name)

    def put(
        self, bucket: str, key: str, content: bytes | Path, modified: datetime | None = None
    ) -> StoredObject:
        """Write an object, as of now unless `modified`; a file is moved. KeyError when there is no such bucket."""
        with self._lock:
            self._serial += 1
            path = self.folder / f"{self._serial:08d}{''.join(Path(key).suffixes[-2:])}"
        if isinstance(content, Path):
            content.rename(path)
        else:
            path.write_bytes(content)
        with path.open("rb") as file:
            etag = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        stored = StoredObject(path, etag, path.stat().st_size, modified or self._now())
        with self._lock:
            old = self._buckets[bucket].objects.get(key)
            self._buckets[bucket].objects[key] = stored
        if old is not None:
            old.path.unlink(missing_ok=True)
        return stored

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with self._lock:
            old = self._buckets[bucket].objects.pop(key, None)
        if old is not None:
            old.path.unlink(missing_ok=True)

    def list(self, bucket: str, prefix: str = "") -> list[tuple[str, StoredObject]]:
        """The objects below a prefix, in the order of their keys."""
        with self._lock:
            objects = self._buckets[bucket].objects
            return sorted((key, stored) for key, stored in objects.items() if key.startswith(prefix))

    def read(self, bucket: str, key: str) -> tuple[StoredObject, bytes]:
        """An object and its bytes; KeyError when there is none."""
        with self._lock:  # no delivery removes the file in between
            stored = self._buckets[bucket].objects[key]
            return stored, stored.path.read_bytes()

    # -- the API -----------------------------------------------------------------------------------

    def answer(self, call: AwsCall) -> Response | None:
        """The answer of S3; None where the request is for no bucket of these."""
        name, _, rest = unquote(call.path).lstrip("/").partition("/")
        bucket = self.get(name)
        if bucket is None:
            return None
        if bucket.account_id != call.account_id and (
            bucket.readers is not None and call.account_id not in bucket.readers
        ):
            raise AwsError("AccessDenied", "Access Denied", 403)
        query = dict(parse_qsl(call.query, keep_blank_values=True))
        operations: dict[str, Callable[[], Response]] = {
            "GetObject": lambda: self._get_object(call, bucket, rest),
            "HeadObject": lambda: self._get_object(call, bucket, rest),
            "PutObject": lambda: self._put_object(call, bucket, rest),
            "DeleteObject": lambda: self._delete_object(bucket, rest),
            "ListObjectsV2": lambda: self._list_objects(bucket, query),
            "HeadBucket": lambda: Response(200, {"x-amz-bucket-region": bucket.region}, b""),
            "GetBucketLocation": lambda: _location(bucket),
        }
        operation = operations.get(call.operation)
        if operation is None:
            raise AwsError("NotImplemented", f"{call.operation} is not part of this simulation.", 501)
        return operation()

    def _get_object(self, call: AwsCall, bucket: Bucket, key: str) -> Response:
        try:
            stored, body = self.read(bucket.name, key)
        except KeyError:
            raise AwsError("NoSuchKey", "The specified key does not exist.", 404) from None
        headers = {
            "ETag": f'"{stored.etag}"',
            "Last-Modified": format_datetime(stored.modified.astimezone(UTC), usegmt=True),
            "Content-Type": "binary/octet-stream",
            "Accept-Ranges": "bytes",
        }
        wanted = call.headers.get("if-match")
        if wanted is not None and wanted.strip('"') not in ("*", stored.etag):
            text = "At least one of the pre-conditions you specified did not hold"
            raise AwsError("PreconditionFailed", text, 412)
        if call.headers.get("if-none-match", "").strip('"') == stored.etag:
            return Response(304, headers, b"")
        part = _RANGE.fullmatch(call.headers.get("range", ""))
        if part is None or part.groups() == ("", ""):
            return Response(200, headers, body)
        first = int(part[1]) if part[1] else max(stored.size - int(part[2]), 0)
        last = min(int(part[2]) if part[1] and part[2] else stored.size - 1, stored.size - 1)
        if first > last:
            raise AwsError("InvalidRange", "The requested range is not satisfiable", 416)
        headers["Content-Range"] = f"bytes {first}-{last}/{stored.size}"
        return Response(206, headers, body[first : last + 1])

    def _put_object(self, call: AwsCall, bucket: Bucket, key: str) -> Response:
        body = call.body
        if "aws-chunked" in call.headers.get("content-encoding", ""):
            body = b"".join(_chunks(body))
        stored = self.put(bucket.name, key, body)
        return Response(200, {"ETag": f'"{stored.etag}"'}, b"")

    def _delete_object(self, bucket: Bucket, key: str) -> Response:
        self.delete(bucket.name, key)
        return Response(204, {}, b"")

    def _list_objects(self, bucket: Bucket, query: dict[str, str]) -> Response:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        most = min(int(query.get("max-keys") or self.page_size), self.page_size)
        token = query.get("continuation-token")
        after = (
            base64.urlsafe_b64decode(token).decode() if token is not None else query.get("start-after", "")
        )
        found: dict[str, StoredObject | None] = {}
        for key, stored in self.list(bucket.name, prefix):
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                found[prefix + rest.partition(delimiter)[0] + delimiter] = None
            else:
                found[key] = stored
        left = [name for name in found if name > after]
        page = left[:most]
        items = "".join(_listed(name, found[name]) for name in page)
        more = ""
        if len(left) > most:
            next_token = base64.urlsafe_b64encode(page[-1].encode()).decode()
            more = f"<NextContinuationToken>{next_token}</NextContinuationToken>"
        return xml_response(
            f"<ListBucketResult {_NAMESPACE}><Name>{escape(bucket.name)}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(page)}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{items}</ListBucketResult>"
        )


def _listed(name: str, stored: StoredObject | None) -> str:
    if stored is None:
        return f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
    return (
        f"<Contents><Key>{escape(name)}</Key><LastModified>{stored.modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
        f"<ETag>&quot;{stored.etag}&quot;</ETag><Size>{stored.size}</Size><StorageClass>STANDARD</StorageClass>"
        "</Contents>"
    )


def _location(bucket: Bucket) -> Response:
    # us-east-1 is the empty constraint.
    region = "" if bucket.region == "us-east-1" else bucket.region
    return xml_response(f"<LocationConstraint {_NAMESPACE}>{region}</LocationConstraint>")


def _chunks(body: bytes) -> Iterable[bytes]:
    """The content of a body in AWS's chunks, each after a line with its length and signature."""
    position = 0
    while position < len(body):
        end = body.index(b"\r\n", position)
        size = int(body[position:end].partition(b";")[0], 16)
        if not size:
            return
        yield body[end + 2 : end + 2 + size]
        position = end + 2 + size + 2
