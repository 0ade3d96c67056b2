"""Methods by name with ranges: ``sd:k=1-5`` stands for k = 1, 2, 3, 4 and 5."""

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import product

from svsim.decoding.method import DecodingMethod
from svsim.decoding.preset import Option
from svsim.decoding.presets import PRESETS, parse_method
from svsim.errors import MethodError, printable
from svsim.limits import MAX_SPECULATIVE_TOKENS

MAX_METHODS = 1000  # of one text
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def parse_methods(
    texts: Iterable[str],
    num_speculative_tokens: int = MAX_SPECULATIVE_TOKENS,
    signals: Collection[str] = (),
) -> list[DecodingMethod]:
    """The methods of ``NAME[:key=value,...]`` texts, in order; a whole-number option takes a range LOW-HIGH.

    See ``parse_method``. Raises MethodError.
    """
    spelled = (one for text in texts for one in without_ranges(text))
    return [parse_method(text, num_speculative_tokens, signals) for text in spelled]


def without_ranges(text: str) -> list[str]:
    """The texts that one with ranges stands for, the last range running fastest; itself without any.

    >>> without_ranges("sd:k=1-3")
    ['sd:k=1', 'sd:k=2', 'sd:k=3']
    """
    name, _, rest = text.strip().partition(":")
    if name not in PRESETS or "-" not in rest:
        return [text]
    options = PRESETS[name].options
    choices = [list(_values(name, part, options.get(part.partition("=")[0]))) for part in rest.split(",")]
    count = 1
    for values in choices:
        count *= len(values)
    if count > MAX_METHODS:
        raise MethodError(
            f"{printable(text, 60)}: {count:,} methods; ask for at most {MAX_METHODS:,} with one text"
        )
    return [f"{name}:{','.join(parts)}" for parts in product(*choices)]


def _values(name: str, part: str, option: Option | None) -> Iterator[str]:
    """``key=value`` for every value of a range; the part itself where it is none."""
    key, _, value = part.partition("=")
    found = _RANGE.fullmatch(value)
    if option is None or not option.is_integer or found is None:
        yield part
        return
    low, high = (option.parse(name, key, end) for end in found.groups())
    assert isinstance(low, int) and isinstance(high, int)
    if low > high:
        raise MethodError(f"{name}: {key}={value} runs backwards; ask for {key}={high}-{low}")
    for number in range(low, high + 1):
        yield f"{key}={number}"
