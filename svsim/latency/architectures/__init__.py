"""Architectures by ``model_type``: what a ``config.json`` means where it does not say it.

``architectures.json`` is the registry, written by hand from each architecture's published code; one entry
per ``model_type``. ``class_defaults.json`` is what transformers' configuration classes fill in where a key is
absent (written by ``calibration/make_class_defaults.py``). An architecture that is in neither is refused by
name: its shape would be a guess.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from typing import Any

from svsim.errors import LatencyError, printable
from svsim.latency.names import closest_names


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is true of every model of one ``model_type``.

    defaults: values of absent keys. keys: further names of a key, beside ``config_keys.NAMES``.
    mlp_matrices: 3 with a gate, 2 without. mlp_per_hidden: the MLP's size in hidden sizes if no key says it.
    positions: key of the number of learned position vectors, and how many there are beyond.
    attention: which layers see all of the context where no list says it: ``full`` (all of them), ``windowed``
    (none, if there is a window), ``every`` N-th (``attention_every``, or the key ``attention_every_key``),
    ``above_max_window_layers`` (the first so many). first_is_full: the first layer too.
    others: what the other layers are: ``window`` or ``recurrent``.
    window_key: key of the window's size; it counts only where the key ``window_switch`` is true.
    recurrent: kind of the recurrent layers (``layer_readers.RECURRENT``).
    output_gate: attention's output is gated by a projection of its size.
    mixer_only: layers have no MLP.
    refused: keys whose presence means something that is not modelled, and what.
    """

    model_type: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    mlp_matrices: int = 3
    mlp_per_hidden: int = 0
    positions: tuple[str, int] | None = None
    attention: str = "full"
    attention_every: int = 0
    attention_every_key: str = ""
    first_is_full: bool = False
    others: str = "window"
    window_key: str = "sliding_window"
    window_switch: str = ""
    recurrent: str = ""
    output_gate: bool = False
    mixer_only: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)


_FIELDS = frozenset(item.name for item in fields(Architecture))


@cache
def architectures() -> Mapping[str, Architecture]:
    """Every architecture that can be read, by ``model_type``."""
    rules = _data("architectures.json")["architectures"]
    return {name: _architecture(name, rules) for name in rules}


def architecture(model_type: object, where: str) -> Architecture:
    """The architecture of a ``model_type``; LatencyError, with the closest known, for an unknown one."""
    known = architectures()
    if not isinstance(model_type, str) or model_type not in known:
        name = printable(model_type, 60)
        raise LatencyError(
            f'{where}: model_type "{name}" is no known architecture; {closest_names(name, known)} '
            "Measure its step times and give them with `latency=FILE`"
        )
    return known[model_type]


@cache
def class_defaults() -> Mapping[str, Mapping[str, Any]]:
    """Values of absent keys by transformers' ``model_type``."""
    defaults: Mapping[str, Mapping[str, Any]] = _data("class_defaults.json")["defaults"]
    return defaults


def _architecture(name: str, rules: Mapping[str, Mapping[str, Any]]) -> Architecture:
    rule = dict(rules[name])
    like = rule.pop("like", None)
    base = _architecture(like, rules) if like else Architecture()
    values = {item: getattr(base, item) for item in _FIELDS} | rule
    positions = values["positions"]
    values["positions"] = None if positions is None else tuple(positions)
    own = class_defaults().get(name, {})
    is_text_model = "vocab_size" in own
    values["defaults"] = {**(own if is_text_model else base.defaults), **rule.get("defaults", {})}
    return Architecture(**(values | {"model_type": name}))


def _data(name: str) -> Any:
    return json.loads(resources.files(__name__).joinpath(name).read_text("utf-8"))
