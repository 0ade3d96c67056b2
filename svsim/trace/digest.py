"""What Parquet does not protect: the footer of a trace, where a flipped byte would change a fact silently.

Pages have checksums, the footer has none. The key ``svsim.digest`` covers the metadata and the step times;
the names and types of the columns stand in the footer twice, as Parquet's schema and as Arrow's.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from svsim.errors import TraceError
from svsim.trace.schema import DIGEST_KEY, METADATA_KEY, STEP_TIMES_KEY

ARROW_SCHEMA_KEY = "ARROW:schema"


def digest_of(stored: Mapping[str, bytes]) -> bytes:
    """``sha256:HEX`` of the metadata and the step times, each with its key and length."""
    digest = hashlib.sha256()
    for key in (METADATA_KEY, STEP_TIMES_KEY):
        value = stored.get(key)
        digest.update(f"{key}:{-1 if value is None else len(value)}:".encode())
        digest.update(value or b"")
    return f"sha256:{digest.hexdigest()}".encode()


def check_digest(stored: Mapping[str, bytes], file: str) -> None:
    """TraceError if the file has a digest and it is not that of its metadata and step times."""
    written = stored.get(DIGEST_KEY)
    if written is not None and written != digest_of(stored):
        raise TraceError(
            f"{file}: its metadata or step times are not those that were written ({DIGEST_KEY}); copy the "
            "file again, or remove that key if they were changed on purpose"
        )


def check_columns(schema: Any, stored: Mapping[str, bytes], file: str) -> None:
    """TraceError if the two schemas of the footer name different columns."""
    packed = stored.get(ARROW_SCHEMA_KEY)
    if packed is None:
        return
    try:
        names = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(packed, validate=True))).names
    except (pa.ArrowException, OSError, ValueError, binascii.Error):
        names = []
    if names != schema.names:
        raise TraceError(
            f"{file}: the two schemas of its footer name different columns; copy or write the file again"
        )
