"""Where results go: files, stdout, the terminal; and progress on stderr."""

import csv
import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from svsim.errors import InputError, printable
from svsim.files import write_atomically
from svsim.progress import ProgressLines

if TYPE_CHECKING:
    from svsim.progress import OnProgress, Progress


def integers(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{name} {text}: expected whole numbers separated by commas, as 1,8,64") from None


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
    """Write to stdout, to a device as it is, or to a file by way of a temporary one.

    Control characters do not get there: a name out of a file is no command to a terminal.
    """
    text = clean(text)
    if out == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        write_atomically(Path(out), text.encode())
    except OSError as error:
        raise InputError(
            f"{printable(out)} cannot be written ({error.strerror}); choose another place"
        ) from None


def clean(text: str) -> str:
    """``text`` with everything that is not printable, but line breaks and tabs, as ``?``."""
    if text.isascii() and text.translate(_KEPT).isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


_KEPT = str.maketrans("", "", "\n\t")


def say(line: str) -> None:
    """One line on stdout."""
    click.echo(clean(line))


def console() -> Any:
    """A terminal that shows what files say and obeys none of it."""
    from rich.console import Console

    class SafeConsole(Console):
        def render(self, renderable: Any, options: Any = None) -> Any:
            for segment in super().render(renderable, options):
                is_safe = segment.control or segment.text.isprintable()
                yield segment if is_safe else segment._replace(text=clean(segment.text))

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the reader has left: no error (rich would exit 1)

    return SafeConsole(width=None if sys.stdout.isatty() else 160)


def this_command() -> str:
    """The command line as typed, for provenance."""
    return _joined(sys.argv[1:])


def command_without(*outputs: str | None) -> str:
    """The command as typed, without where its results go: two files of one recipe are the same."""
    words = [w for w in sys.argv[1:] if w not in ("--out", "--json", "--debug", *outputs)]
    return _joined([w for w in words if not w.startswith(("--out=", "--json="))])


def _joined(words: Sequence[str]) -> str:
    """Words as a shell takes them; bytes that are no text (of a file's name) as ``?``."""
    joined = shlex.join(["svsim", *words])
    return joined.encode(errors="replace").decode()


class progress_bar:
    """A progress bar on stderr, where a person watches; says when a first run compiles.

    lines: for jobs of minutes and more, whose log has a line every ten seconds where nobody watches.
    """

    def __init__(self, what: str, *, lines: bool = False) -> None:
        self.what, self.lines = what, lines

    def __enter__(self) -> "OnProgress | None":
        self.bar: Any = None
        if not sys.stderr.isatty():
            return ProgressLines(lambda line: click.echo(line, err=True)) if self.lines else None
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
