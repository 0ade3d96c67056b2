"""Where results go: files, stdout, the terminal; and progress on stderr."""

import csv
import io
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svsim.errors import InputError
from svsim.files import write_atomically

if TYPE_CHECKING:
    from svsim.progress import OnProgress, Progress


def integers(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{name} {text}: expected whole numbers separated by commas, as 1,8,64") from None


def check_outputs(*outputs: str | None) -> None:
    """Fail before the work, not after it."""
    if sum(out == "-" for out in outputs) > 1:
        raise InputError("only one output can go to stdout; write the other to a file")
    for out in outputs:
        if out and out != "-":
            folder = Path(out).resolve().parent
            if Path(out).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
                raise InputError(
                    f"{out} cannot be written: give a file in a folder that exists and is writable"
                )


def write_json(document: Any, out: str) -> None:
    """Write a JSON document to a file or to stdout."""
    write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", out)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of one shape as CSV; what is no number or text is written as JSON."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        nested = {name: json.dumps(v) for name, v in row.items() if isinstance(v, Mapping | list | tuple)}
        writer.writerow({**row, **nested})
    return out.getvalue()


def write_text(text: str, out: str) -> None:
    """Write to stdout, to a device as it is, or to a file by way of a temporary one."""
    if out == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        write_atomically(Path(out), text.encode())
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); choose another place") from None


def console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def this_command() -> str:
    """The command line as typed, for provenance."""
    return shlex.join(["svsim", *sys.argv[1:]])


def command_without(*outputs: str | None) -> str:
    """The command as typed, without where its results go: two files of one recipe are the same."""
    words = [w for w in sys.argv[1:] if w not in ("--out", "--json", "--debug", *outputs)]
    return shlex.join(["svsim", *(w for w in words if not w.startswith(("--out=", "--json=")))])


class progress_bar:
    """A progress bar on stderr, where a person watches; says when a first run compiles."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> "OnProgress | None":
        self.bar: Any = None
        if not sys.stderr.isatty():
            return None
        from rich.console import Console
        from rich.progress import Progress as Bar

        from svsim.compiled import is_compiled

        if not is_compiled():
            print("compiling the replay loop (first run only, about 20 s) ...", file=sys.stderr)
        self.bar = Bar(console=Console(stderr=True), transient=True)
        self.bar.start()
        task = self.bar.add_task(self.what, total=None)

        def show(progress: "Progress") -> None:
            self.bar.update(task, completed=progress.done, total=progress.total)

        return show

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
