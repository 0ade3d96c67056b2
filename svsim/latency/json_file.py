"""Small JSON files from outside: data only, one-line errors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from svsim.errors import LatencyError
from svsim.files import read_at_most

MAX_FILE_BYTES = 1 << 20


def read_json_object(path: str | Path, expected: str) -> Mapping[str, Any]:
    """The object in a JSON file of at most 1 MiB. LatencyError says that ``expected`` was expected."""
    path = Path(path)
    try:
        data = read_at_most(path, MAX_FILE_BYTES)
        if data is None:
            raise LatencyError(f"{path}: larger than {MAX_FILE_BYTES} bytes; expected {expected}")
        parsed = json.loads(data.decode("utf-8"))
    except OSError as error:
        raise LatencyError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise LatencyError(f"{path}: not valid JSON ({reason}); expected {expected}") from None
    if not isinstance(parsed, Mapping):
        raise LatencyError(f"{path}: must hold a JSON object; expected {expected}")
    return parsed
