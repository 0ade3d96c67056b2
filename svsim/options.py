"""Options of a run, the words of the command line: defaults, what they may be, what a convention fixes.

Messages name options in backquotes, as Python has them; the command line turns these into its flags.
"""

import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from svsim.errors import InputError, printable
from svsim.latency.elsewhere import TOGETHER, Elsewhere
from svsim.latency.memory import GPU_MEMORY_UTILIZATION
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.model_choice import AS_THE_TRACE_SAYS, ModelChoice

if TYPE_CHECKING:
    from svsim.decoding.acceptance_rules import AcceptanceRule
    from svsim.decoding.method import DecodingMethod
    from svsim.engines.settings import RunSettings
    from svsim.trace.token_trace import TokenTrace

DEFAULT_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 48, 64)
VALUE_BATCH_SIZES = (1, 8, 32, 64)
MAX_BATCH_SIZE = 4096
MAX_REDRAWS = 10_000
MAX_SEED = 2**63 - 1
T = TypeVar("T")
W = TypeVar("W", bound=str)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of ``replay`` and ``analytic``; ``svsim.replay`` says what each is.

    Empty or None: the default, which may depend on the trace or the convention.
    """

    methods: "Sequence[str | DecodingMethod] | str | DecodingMethod" = ()
    batch_sizes: Sequence[int] | int = ()
    hardware: Sequence[str] | str = ()
    latency: str | LatencyModel = "trace"
    engine: str | None = None
    models: ModelChoice = AS_THE_TRACE_SAYS
    elsewhere: Elsewhere = TOGETHER
    refill: str | None = None
    batch_of: str | None = None
    prefill: str | None = None
    profile_split: float | None = None
    profile_from: "TokenTrace | str | Path | None" = None
    believed_prices: str | LatencyModel | None = None
    coins: str = "recorded"
    convention: str = "native"
    out_of_range: OutOfRange | None = None
    prices: str | Path | None = None
    gpu_memory_utilization: float | None = None
    seed: int = 0
    jobs: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "latency", latency_of(self.latency))
        texts("hardware", self.hardware)
        if self.believed_prices is not None:
            object.__setattr__(self, "believed_prices", latency_of(self.believed_prices))
        for name, given in (("engine", self.engine), ("coins", self.coins)):
            if given is not None and not isinstance(given, str):
                raise InputError(f"`{name}` is {printable(repr(given), 40)}; expected a text")

    @property
    def memory_share(self) -> float:
        """Share of each GPU's memory that the server uses."""
        share = self.gpu_memory_utilization
        return GPU_MEMORY_UTILIZATION if share is None else share

    def settings(self, methods: Sequence["DecodingMethod"]) -> "RunSettings":
        """How to run these methods, everything checked; a convention fixes some of it."""
        from svsim.engines.convention import CONVENTIONS, BatchOf, Prefill, Refill
        from svsim.engines.settings import RunSettings

        convention = CONVENTIONS[word("convention", self.convention, tuple(CONVENTIONS))]
        refills: tuple[Refill, ...] = get_args(Refill)
        batches: tuple[BatchOf, ...] = get_args(BatchOf)
        prefills: tuple[Prefill, ...] = get_args(Prefill)
        fixed_by = convention.name if convention.is_fixed else None
        seed = integer("seed", self.seed, 0, MAX_SEED)
        return RunSettings(
            methods=tuple(methods),
            batch_sizes=_batch_sizes(self.batch_sizes) or DEFAULT_BATCH_SIZES,
            trim_batch_sizes=not several(self.batch_sizes),
            refill=_by_convention("refill", self.refill, refills, convention.refill, fixed_by),
            batch_of=_by_convention("batch_of", self.batch_of, batches, convention.batch_of, fixed_by),
            prefill=_by_convention("prefill", self.prefill, prefills, convention.prefill, fixed_by),
            profile_split=_share(self.profile_split, convention.profile_split),
            coins=coins_of(self.coins, seed),
            convention=convention,
            seed=seed,
            jobs=workers(self.jobs),
        )


def several(given: Any) -> tuple[Any, ...]:
    """``given`` as a tuple; one text, number or object stands for itself.

    >>> several("sd:k=5"), several([8, 64]), several(8)
    (('sd:k=5',), (8, 64), (8,))
    """
    is_many = isinstance(given, Sequence) or (hasattr(given, "__iter__") and not isinstance(given, Mapping))
    return tuple(given) if is_many and not isinstance(given, str) else (given,)


def texts(name: str, given: Any) -> tuple[str, ...]:
    """Texts of an option that takes several, else InputError."""
    found = several(given)
    for one in found:
        if not isinstance(one, str):
            raise InputError(
                f"`{name}` holds {printable(repr(one), 40)}; expected a text, or a list of texts"
            )
    return found


def latency_of(given: Any) -> str | LatencyModel:
    """Where step times come from, else InputError; a path stands for its file."""
    given = os.fspath(given) if isinstance(given, os.PathLike) else given
    if (isinstance(given, str) and given.strip()) or hasattr(given, "predict_s"):
        return given  # type: ignore[no-any-return]
    raise InputError(
        f"`latency` is {printable(repr(given), 40)}; expected trace, database, roofline, a file or an object "
        "with predict_s"
    )


def word(name: str, given: str, words: tuple[W, ...]) -> W:
    """The one of ``words`` that was given, else InputError."""
    for known in words:
        if known == given:
            return known
    raise InputError(f"`{name}` {printable(given, 40)} is unknown; choose one of {', '.join(words)}")


def integer(name: str, given: Any, least: int, most: int) -> int:
    """A whole number of a range, else InputError."""
    try:
        number = None if isinstance(given, bool) else operator.index(given)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise InputError(
            f"`{name}` {printable(given, 40)} is out of range; expected a whole number from {least} to {most}"
        )
    return number


def workers(jobs: int | None) -> int:
    """Worker threads: as many as cores, unless said."""
    return (os.cpu_count() or 1) if jobs is None else integer("jobs", jobs, 1, 1024)


def open_share(name: str, given: float) -> float:
    """A share with something on both sides, else InputError."""
    if not _is_number(given) or not 0.0 < given < 1.0:
        raise InputError(f"`{name}` {printable(given, 40)} is out of range; expected 0 < split < 1")
    return given


def coins_of(text: str, seed: int) -> "AcceptanceRule":
    """Acceptance as recorded, or ``redraw:N``."""
    from svsim.decoding.acceptance_rules import RecordedCoins, RedrawnCoins

    kind, _, count = text.partition(":")
    if text == "recorded":
        return RecordedCoins()
    if kind == "redraw" and count.isdecimal() and len(count) <= len(str(MAX_REDRAWS)):
        return RedrawnCoins(integer("coins", int(count), 1, MAX_REDRAWS), seed)
    raise InputError(
        f"`coins` {printable(text, 40)} is unknown; use recorded, or redraw:N up to redraw:{MAX_REDRAWS}"
    )


def _batch_sizes(given: Any) -> tuple[int, ...]:
    return tuple(dict.fromkeys(integer("batch_sizes", size, 1, MAX_BATCH_SIZE) for size in several(given)))


def _by_convention(name: str, given: str | None, words: tuple[W, ...], default: W, fixed_by: str | None) -> W:
    """The given word, or the default; where a convention fixes it, others contradict it."""
    if fixed_by and given not in (None, default):
        raise InputError(f"`convention={fixed_by}` fixes `{name}={default}`; leave `{name}` out")
    return default if given is None else word(name, given, words)


def _share(given: float | None, default: float) -> float:
    share = default if given is None else given
    if not _is_number(share) or not 0.0 <= share < 1.0:
        raise InputError(f"`profile_split` {printable(share, 40)} is out of range; expected 0 <= split < 1")
    return share


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)
