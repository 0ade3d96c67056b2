"""DEL: the exit layer and the draft length that recent rounds make the best of.

Defaults are the source's; one that the source does not state is said to be ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from svsim.decoding.drafters import ExitsDrafter
from svsim.decoding.exit_rules import MAX_EXIT_TOKENS, best_exit, exit_options
from svsim.decoding.method import DecodingMethod
from svsim.decoding.preset import Option, Preset, Value, shown
from svsim.decoding.rivals import BLIND
from svsim.decoding.selections import Plan, Selection
from svsim.errors import MethodError
from svsim.trace.token_trace import TraceMetadata

AUTO = "auto"
MATCH = "exit_match"


@dataclass(frozen=True, slots=True)
class SelectExit(Selection):
    """One exit and one length for the batch, before it drafts (``exit_rules.best_exit``).

    exit_layer, length: fixed ones (LayerSkip's static choice), None: chosen. layers, num_layers: of the
    trace, once it is known.
    """

    forget: float
    by_price: bool
    exit_layer: int | None = None
    length: int | None = None
    layers: tuple[int, ...] = ()
    num_layers: int = 0
    rule: Any = best_exit

    @property
    def lengths_from(self) -> Plan:
        """The rule."""
        return Plan.SELECTED

    @property
    def stops_draft(self) -> bool:
        """It decides before the draft."""
        return True

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What every exit would have drafted, right or wrong."""
        return (MATCH,)

    @property
    def is_exact_when_greedy(self) -> bool:
        """Every exit's token follows from the text before it."""
        return True

    @property
    def options(self) -> tuple[float, ...]:
        """Of the rule."""
        exit_number = -1 if self.exit_layer is None else self.layers.index(self.exit_layer)
        length = -1 if self.length is None else self.length
        return exit_options(self.forget, self.by_price, (exit_number, length), self.num_layers, self.layers)


def on_trace(method: DecodingMethod, metadata: TraceMetadata) -> DecodingMethod:
    """The method with the exits of a trace; itself if it chooses none. MethodError for one it lacks."""
    selection = method.selection
    if not isinstance(selection, SelectExit) or metadata.exits is None:
        return method
    layers, num_layers = tuple(metadata.exits["layers"]), int(metadata.exits["num_layers"])
    if selection.exit_layer is not None and selection.exit_layer not in layers:
        raise MethodError(
            f"{method.label}: the trace holds exits after layers {'/'.join(map(str, layers))}; give one of "
            "them, or exit=auto"
        )
    return replace(
        method,
        selection=replace(selection, layers=layers, num_layers=num_layers),
        drafter=ExitsDrafter(tuple(layer / num_layers for layer in layers)),
    )


DEL: Mapping[str, Option] = {
    "d_max": Option(8, at_least=1, at_most=MAX_EXIT_TOKENS),
    "forget": Option(0.9, at_least=0.0, at_most=1.0),  # ours
    "cost": Option("paper", ("paper", "price")),
    "exit": Option(AUTO, at_least=1, at_most=1000, or_word=AUTO),
    "d": Option(AUTO, at_least=0, at_most=MAX_EXIT_TOKENS, or_word=AUTO),
}


def del_(o: Mapping[str, Value]) -> DecodingMethod:
    """DEL: exit and length by expected tokens per layer (or second), from what recent rounds showed."""
    exit_layer, length = (None if o[key] == AUTO else int(o[key]) for key in ("exit", "d"))
    d_max = int(o["d_max"])
    if length is not None and length > d_max:
        raise MethodError(f"del: d={length} exceeds d_max={d_max}")
    return DecodingMethod(
        "del",
        d_max,
        SelectExit(float(o["forget"]), o["cost"] == "price", exit_layer, length),
        drafter=ExitsDrafter(),
        why_lossless=BLIND,
        params=shown(DEL, o),
        is_about_drafter=True,
    )


EXIT_METHODS: Mapping[str, Preset] = {
    "del": Preset(
        del_,
        DEL,
        "the exit layer and length that recent rounds make the best of",
        "DEL, arXiv 2504.05598; LayerSkip, arXiv 2404.16710",
    ),
}
