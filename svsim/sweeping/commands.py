"""Commands that a grid can be made of: their options by name, and their rows as flat records."""

import difflib
import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from svsim.errors import InputError, printable
from svsim.spelling import method_label, params_text

# flag of the command line -> parameter of the Python function, where they differ
PARAMETER_OF = {"batch": "batch_sizes", "method": "methods"}
OPTION_OF = {parameter: option for option, parameter in PARAMETER_OF.items()}
NOT_SWEPT = {
    "progress": "a cell shows none",
    "say": "a cell says nothing",
    "jobs": "a cell runs on one core; say --workers",
    "json": "a cell writes no file of its own; rows go to --out",
    "csv": "a cell writes no file of its own; rows go to --out",
    "report": "a cell writes no file of its own; make a page with --explore",
    "requests_csv": "a cell writes no file of its own; rows go to --out",
}
# what-ifs of ``svsim.trace.what_if``: options of every command that has a trace
WHAT_IFS = ("acceptance", "context")


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the function of ``svsim`` behind it, and where its JSON document holds the rows."""

    name: str
    load: Callable[[], Callable[..., Any]]
    rows: str = "rows"

    @property
    def options(self) -> tuple[str, ...]:
        """Names of its options as a grid spells them, what-ifs included."""
        names = [OPTION_OF.get(name, name) for name in inspect.signature(self.load()).parameters]
        return (*(name for name in names if name not in NOT_SWEPT), *WHAT_IFS)

    def option(self, given: str, where: str) -> str:
        """The option that a grid names (``max-num-seqs`` or ``max_num_seqs``), else InputError."""
        name = given.strip().lstrip("-").replace("-", "_")
        name = OPTION_OF.get(name, name)
        if name in NOT_SWEPT:
            raise InputError(f"{where}: {printable(given, 40)} is no option of a grid ({NOT_SWEPT[name]})")
        if name not in self.options:
            raise InputError(
                f"{where}: svsim {self.name} has no option {printable(given, 40)}; "
                f"{nearest(name, self.options)}"
            )
        return name

    def records(self, result: Any) -> list[dict[str, Any]]:
        """The rows of a result as flat records of plain values."""
        return [flat(row) for row in result.to_dict()[self.rows]]


def nearest(name: str, known: Collection[str]) -> str:
    """``did you mean batch?``, or what there is."""
    found = difflib.get_close_matches(name, known, 1, 0.55)
    return f"did you mean {found[0]}?" if found else f"there are {', '.join(known)}"


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of JSON values with none inside another: parameters as text, estimates with their interval."""
    found: dict[str, Any] = {}
    if "method" in row and isinstance(row.get("params"), Mapping):
        found["label"] = method_label(row["method"], row["params"])
    for name, value in row.items():
        if name == "params" and isinstance(value, Mapping):
            found[name] = params_text(value)
        elif isinstance(value, Mapping) and {"value", "ci_low", "ci_high"} <= value.keys():
            found |= {name: value["value"], f"{name}_ci_low": value["ci_low"]}
            found[f"{name}_ci_high"] = value["ci_high"]
        elif isinstance(value, Mapping | list | tuple):
            found[name] = _text(value)
        else:
            found[name] = value
    return found


def _text(value: Mapping[str, Any] | Iterable[Any]) -> str:
    """A nested value as text: words joined, the rest as JSON."""
    if not isinstance(value, Mapping) and all(isinstance(one, str) for one in value):
        return ",".join(value)
    return json.dumps(value, sort_keys=True)


def command_named(name: object) -> Command:
    """The command, else InputError."""
    known = commands()
    if not isinstance(name, str) or name not in known:
        text = printable(name, 40)
        raise InputError(f"command {text} cannot be swept; {nearest(str(name), tuple(known))}")
    return known[name]


@cache
def commands() -> dict[str, Command]:
    """All commands with rows, by name."""
    found = [
        Command("replay", _replay),
        Command("analytic", _analytic),
        Command("serve-sim", _serve_sim),
        Command("plan", _plan, rows="plans"),
        Command("value", _value),
        Command("info", _info, rows="by_depth"),
    ]
    return {command.name: command for command in found}


def _replay() -> Callable[..., Any]:
    from svsim.api import replay

    return replay


def _analytic() -> Callable[..., Any]:
    from svsim.api import analytic

    return analytic


def _serve_sim() -> Callable[..., Any]:
    from svsim.open_loop.face import serve_sim

    return serve_sim


def _plan() -> Callable[..., Any]:
    from svsim.planning.face import plan

    return plan


def _value() -> Callable[..., Any]:
    from svsim.api import value

    return value


def _info() -> Callable[..., Any]:
    from svsim.api import info

    return info
