"""Synthetic settings from plain values: a JSON file, and the words of a command line.

The names are the fields of ``SyntheticSettings``, ``TaskSettings`` and ``LengthLaw``; what is left out
has its default. Values are checked for their kind here, for their range by the settings themselves.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from svsim.errors import InputError, printable
from svsim.reading import json_object
from svsim.synthetic.settings import LengthLaw, SyntheticSettings, TaskSettings

LENGTH_FIELDS = ("prompt_tokens", "output_tokens")
TASK_OPTIONS = ("acceptance", "verified_acceptance", *LENGTH_FIELDS)
INTEGER_FIELDS = frozenset({"num_requests", "num_speculative_tokens", "minimum", "maximum"})
TEXT_FIELDS = frozenset({"name", "information_measure"})


def read_settings(path: str | Path) -> dict[str, Any]:
    """The JSON object of a settings file. Raises InputError naming the file."""
    return json_object(path, 'settings as {"num_requests": 512, ...}')


def settings_of(values: Mapping[str, Any]) -> SyntheticSettings:
    """Settings of plain values: numbers, texts, lists, and objects for tasks and lengths."""
    given = _known(values, SyntheticSettings, "settings")
    tasks = given.pop("tasks", None)
    found = {name: _value(name, value) for name, value in given.items()}
    if tasks is not None:
        if not isinstance(tasks, list | tuple) or not tasks:
            raise _wrong("tasks", tasks, 'a list of tasks, as [{"name": "chat", "acceptance": 0.7}]')
        found["tasks"] = tuple(_task(task) for task in tasks)
    return SyntheticSettings(**found)


def _task(values: object) -> TaskSettings:
    if not isinstance(values, Mapping):
        raise _wrong("a task", values, 'an object, as {"name": "chat", "acceptance": 0.7}')
    given = _known(values, TaskSettings, "task")
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in LENGTH_FIELDS:
            found[name] = _length_law(name, value)
        elif name == "acceptance" and isinstance(value, list | tuple):
            found[name] = tuple(_value(name, item) for item in value)
        else:
            found[name] = _value(name, value)
    return TaskSettings(**found)


def _length_law(name: str, value: object) -> LengthLaw:
    """A law of an object, or of its mean alone."""
    if not isinstance(value, Mapping):
        return LengthLaw(_value(name, value))
    given = _known(value, LengthLaw, name)
    if "mean" not in given:
        raise _wrong(name, "without a mean", 'an object, as {"mean": 200, "variation": 0.5}')
    return LengthLaw(**{key: _value(key, item) for key, item in given.items()})


def _known(values: Mapping[str, Any], kind: type, what: str) -> dict[str, Any]:
    """A copy of ``values``; every name must be a field of ``kind``."""
    names = [field.name for field in fields(kind)]
    for name in values:
        if name not in names:
            close = get_close_matches(str(name), names, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise InputError(
                f"synthetic trace: {what} has no {printable(name, 40)!r}; {hint}known: {', '.join(names)}"
            )
    return dict(values)


def _value(name: str, value: object) -> Any:
    """The value as the field takes it, if it is of the right kind."""
    if name in TEXT_FIELDS:
        if not isinstance(value, str):
            raise _wrong(name, value, "a text")
        return value
    if name == "greedy":
        if not isinstance(value, bool):
            raise _wrong(name, value, "true or false")
        return value
    if value is None and name in ("burstiness", "wrong_prefix_decay", "acceptance", "verified_acceptance"):
        return None
    if name in INTEGER_FIELDS:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(name, value, "a whole number")
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < math.inf:
        raise _wrong(name, value, "a number")
    return float(value)


def _wrong(name: str, value: object, expected: str) -> InputError:
    return InputError(
        f"synthetic trace: {printable(name, 40)} is {printable(value, 60)}, expected {expected}"
    )


def with_options(
    values: Mapping[str, Any], tasks: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """``values`` with a command line's words put over them; options that are None are left out.

    tasks: ``NAME:key=value,...`` each, instead of the tasks of ``values``. The task options
    (acceptance, verified_acceptance, prompt_tokens, output_tokens) go to the only task there is.
    """
    given = {name: value for name, value in options.items() if value is not None}
    of_task = {name: given.pop(name) for name in TASK_OPTIONS if name in given}
    found = {**values, **given}
    if tasks:
        found["tasks"] = [_task_of_text(text) for text in tasks]
    if of_task:
        present = found.get("tasks") or [{"acceptance": SyntheticSettings().tasks[0].acceptance}]
        if not isinstance(present, list | tuple) or len(present) != 1 or not isinstance(present[0], Mapping):
            raise InputError(
                f"--{next(iter(of_task)).replace('_', '-')} is of one task, but {len(present)} are given; "
                "put it into --task NAME:key=value,..."
            )
        task = {**present[0], **{name: _of_text(name, text) for name, text in of_task.items()}}
        for name, other in (("acceptance", "verified_acceptance"), ("verified_acceptance", "acceptance")):
            if name in of_task and other not in of_task:
                task.pop(other, None)
        found["tasks"] = [task]
    return found


def _task_of_text(text: str) -> dict[str, Any]:
    """The task of ``chat:acceptance=0.65,share=2,output_tokens=300:0.6``."""
    name, _, rest = text.partition(":")
    task: dict[str, Any] = {"name": name}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key in task:
            raise InputError(
                f"--task {printable(text, 80)}: {printable(part, 40)} is not expected here; "
                "expected NAME:key=value,... with each key once, as chat:acceptance=0.65,share=2"
            )
        task[key] = _of_text(key, value)
    return task


def length_of_text(name: str, text: str) -> LengthLaw:
    """The law of ``MEAN`` or ``MEAN:VARIATION``."""
    return _length_law(name, _of_text(name, text))


def rates_of_text(text: str) -> tuple[float, ...]:
    """Cumulative acceptance rates of ``.72/.51/.36``; their range is checked where they are used."""
    return tuple(_number("accept_by_position", part) for part in text.split("/"))


def _of_text(name: str, text: str) -> Any:
    """A task's value as JSON would have it: a number, depths ``0.8/0.82``, a length ``MEAN:VARIATION``."""
    if name == "acceptance" and "/" in text:
        return [_number(name, part) for part in text.split("/")]
    if name in LENGTH_FIELDS and ":" in text:
        mean, _, variation = text.partition(":")
        return {"mean": _number(name, mean), "variation": _number(name, variation)}
    return _number(name, text)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _wrong(name, text, "a number") from None
