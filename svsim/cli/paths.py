"""Which options name files, and that no output of a command destroys an input or another output.

What an option names follows from how it is declared: ``metavar`` holds FILE, DIR, MODEL or CONFIG; an output
is called ``--json``, ``--csv``, ``--report``, ``--out``, or something that ends so (``--requests-csv``).
"""

import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Literal

import click

from svsim.errors import InputError, printable
from svsim.files import descriptor_of

Kind = Literal["input", "output", "output folder"]

OUTPUT_WORDS = ("json", "csv", "report", "out", "emit", "explore")
INPUT_ARGUMENTS = frozenset({"trace", "file", "files", "names", "grid"})
INPUT_MARKS = ("FILE", "DIR", "MODEL", "CONFIG", "PATH")
SHARDS = ".shards"  # of an interrupted capture, beside its output
# what is read of a folder that holds models or prompts
FOLDER_INPUTS = (
    *("*.json", "*.jsonl", "*.safetensors", "*.bin", "*.pt", "*.pth", "*.model", "*.txt", "*.jinja", "*.py"),
)


@dataclass(frozen=True, slots=True)
class Named:
    """A file or folder that an option names: the option as typed, and the path as given."""

    option: str
    path: str

    def __str__(self) -> str:
        return f"{self.option} {printable(self.path, 120)}"


def kind_of(parameter: click.Parameter) -> Kind | None:
    """What a parameter names, by its declaration; None: nothing in the file system."""
    metavar = parameter.metavar or ""
    if isinstance(parameter, click.Argument):
        return "input" if parameter.name in INPUT_ARGUMENTS else None
    words = [flag.rsplit("-", 1)[-1] for flag in parameter.opts]
    if any(word in OUTPUT_WORDS for word in words) and any(mark in metavar for mark in INPUT_MARKS):
        return "output folder" if "DIR" in metavar else "output"
    return "input" if any(mark in metavar for mark in (*INPUT_MARKS, "NAME[:")) else None


def check_command(command: click.Command, values: Mapping[str, Any]) -> None:
    """InputError unless all outputs of a command can be written and destroy nothing that it reads."""
    for parameter in command.params:
        is_output = kind_of(parameter) == "output"
        if is_output and values.get(parameter.name or "") == "-" and "-" not in (parameter.metavar or ""):
            flag = parameter.opts[0]
            raise InputError(f"{flag} - is no file; this output goes to a file, as {flag} NAME")
    named = [(kind_of(p), item) for p in command.params for item in _named(p, values)]
    outputs = [item for kind, item in named if kind == "output"]
    inputs = [item for kind, item in named if kind == "input"]
    if "table" in values and values.get("live") is None:  # read if it is there, else written
        outputs += [i for i in inputs if i.option == "--table" and not os.path.lexists(i.path)]
        inputs = [i for i in inputs if i not in outputs]
    for item in [o for o in outputs if o.option == "--out" and "resume" in values]:
        refuse_inside([*inputs, *outputs], Named("the shards of", item.path + SHARDS))
    check_outputs(outputs, inputs)


def check_outputs(outputs: Sequence[Named], inputs: Sequence[Named] = ()) -> None:
    """Fail before the work, not after it: outputs exist nowhere else, and can be written."""
    on_stdout = [o for o in outputs if o.path == "-" or descriptor_of(o.path) == 1]
    if len(on_stdout) > 1:
        raise InputError(
            f"{on_stdout[0]} and {on_stdout[1]}: only one output can go to stdout; write the other to a file"
        )
    files = [o for o in outputs if o.path != "-" and descriptor_of(o.path) is None]
    for output in files:
        _check_writable(output)
    for number, output in enumerate(files):
        for other in files[:number]:
            if _is_regular(output) and _same_place(output.path, other.path, ignore_case=True):
                raise InputError(f"{output} names the same file as {other}; write each output to its own")
        for source in inputs:
            _refuse_destroying(output, source)
    _check_stdout(files, inputs)


def refuse_inside(named: Sequence[Named], folder: Named) -> None:
    """InputError for what lies in a folder that the command makes and removes itself."""
    place = os.path.realpath(folder.path)
    for item in named:
        real = os.path.realpath(item.path)
        if real == place or real.startswith(place + os.sep):
            raise InputError(f"{item} lies where {folder} are kept; choose another place")


def _named(parameter: click.Parameter, values: Mapping[str, Any]) -> Iterator[Named]:
    value = values.get(parameter.name or "")
    if kind_of(parameter) is None or value is None or isinstance(value, bool):
        return
    label = parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.name).upper()
    texts = value if isinstance(value, tuple | list) else (value,)
    if parameter.nargs == 2:  # ENGINE FILE, repeated
        texts = [pair[1] for pair in texts]
    for text in texts:
        if isinstance(text, str | os.PathLike):
            yield Named(label, os.fspath(text))


def _refuse_destroying(output: Named, source: Named) -> None:
    """An input may be an option's whole word or what stands before a colon (``gpu.json:tp=4``)."""
    if not _is_regular(output):
        return
    for path in {source.path, source.path.partition(":")[0]} - {""}:
        is_folder = os.path.isdir(path)
        if _same_place(output.path, path):
            if is_folder or os.path.lexists(path):
                raise InputError(f"{output} would destroy what {source} reads; choose another file")
        elif is_folder and _is_read_of(output.path, path):
            raise InputError(
                f"{output} lies among the files of the folder that {source} reads; choose another place"
            )


def _is_read_of(output: str, folder: str) -> bool:
    """Whether an existing file in ``folder`` (or below) is of a kind that is read from there."""
    real, place = os.path.realpath(output), os.path.realpath(folder)
    inside = real.startswith(place.rstrip(os.sep) + os.sep) and os.path.exists(real)
    return inside and any(fnmatch(os.path.basename(real).lower(), name) for name in FOLDER_INPUTS)


def _same_place(one: str, other: str, ignore_case: bool = False) -> bool:
    """Whether two paths are one file: by links of either kind, by spelling, or in time to come."""
    try:
        if os.path.samefile(one, other):
            return True
    except (OSError, ValueError):
        pass
    places = [unicodedata.normalize("NFC", os.path.realpath(path)) for path in (one, other)]
    if ignore_case:  # one file on many file systems
        places = [place.casefold() for place in places]
    return places[0] == places[1]


def _check_writable(output: Named) -> None:
    try:
        target = os.path.realpath(output.path)
        try:
            mode = os.stat(target).st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
    except (OSError, ValueError) as error:  # a name too long, a loop of links, a NUL
        reason = printable(getattr(error, "strerror", None) or error, 80)
        raise InputError(f"{output} cannot be written ({reason}); give another file") from None
    folder = os.path.dirname(target)
    is_possible = os.path.isdir(folder) and os.access(folder, os.W_OK)
    if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not is_possible):
        raise InputError(f"{output} cannot be written: give a file in a folder that exists and is writable")


def _check_stdout(files: Sequence[Named], inputs: Sequence[Named]) -> None:
    """Text that is redirected (``>> T.parquet``) destroys as well."""
    try:
        stdout = os.fstat(1)
    except OSError:
        return
    for item in (*files, *inputs):
        try:
            is_same = os.path.samestat(os.stat(item.path), stdout)
        except (OSError, ValueError):
            continue
        if is_same and _is_regular(item):
            raise InputError(f"{item} is the file that stdout goes to; send stdout elsewhere")


def _is_regular(named: Named) -> bool:
    """Whether writing would replace a file: devices and pipes are written as they are."""
    return os.path.isfile(named.path) or not os.path.exists(named.path)
