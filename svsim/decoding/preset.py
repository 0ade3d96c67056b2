"""What a preset is: a method by name, and the options that its spelling takes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from svsim.decoding.method import DecodingMethod
from svsim.errors import MethodError, printable
from svsim.limits import MAX_SPECULATIVE_TOKENS

Value = int | float | str
CHAIN = "K of the trace"
RECORDED = "histogram where the trace has it"
SHAPED = "by its shape"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a preset: its default and what it may be.

    Allowed ``words``; or text of a ``pattern``, described by ``form``; or a number of a range: any one if the
    default is a float or SHAPED, else a whole one. Two defaults depend on the trace: CHAIN is its number of
    draft tokens per position, RECORDED is ``histogram`` if it has the columns ``HISTOGRAM``, else
    ``similarity``. SHAPED follows from the target's shape. ``or_word`` may stand in the place of a number.
    """

    default: Value
    words: tuple[str, ...] = ()
    at_least: float = 0
    at_most: float = MAX_SPECULATIVE_TOKENS
    pattern: str = ""
    form: str = ""
    or_word: str = ""

    @property
    def is_number(self) -> bool:
        """Whether any number of the range will do, not whole ones alone."""
        return isinstance(self.default, float) or self.default == SHAPED

    @property
    def is_integer(self) -> bool:
        """Whether it is a whole number."""
        return not (self.words or self.pattern or self.is_number)

    def parse(self, method: str, key: str, text: str) -> Value:
        """The value of ``key=text``, or MethodError."""
        wrong = f"{method}: {key}={printable(text, 40)} is"
        if self.words:
            if text in self.words:
                return text
            raise MethodError(f"{wrong} unknown; choose one of {', '.join(self.words)}")
        if self.pattern:
            if re.fullmatch(self.pattern, text):
                return text
            raise MethodError(f"{wrong} not {self.form}")
        if self.or_word and text == self.or_word:
            return text
        if self.is_number:
            number = float(text) if re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,12}(e-?[0-9]{1,2})?", text) else None
            if number is not None and self.at_least <= number <= self.at_most:
                return number
            beside = f", nor {self.or_word}" if self.or_word else ""
            raise MethodError(f"{wrong} not a number from {self.at_least:g} to {self.at_most:g}{beside}")
        value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else None
        if value is None or not self.at_least <= value <= self.at_most:
            raise MethodError(f"{wrong} not a whole number from {self.at_least:g} to {self.at_most:g}")
        return value


@dataclass(frozen=True, slots=True)
class Preset:
    """A named method: how to build it, its options, one line of explanation and its source."""

    build: Callable[[Mapping[str, Value]], DecodingMethod]
    options: Mapping[str, Option]
    summary: str
    source: str


def shown(options: Mapping[str, Option], values: Mapping[str, Value]) -> dict[str, Value]:
    """What a result shows of the values: k, and whatever differs from its default."""
    return {key: v for key, v in values.items() if key == "k" or v != options[key].default}
