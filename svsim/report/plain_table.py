"""A table that knows neither terminal nor page: a subject makes one, two renderers show it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlainTable:
    """A table of words and numbers; the first ``num_words`` columns are words."""

    caption: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_words: int


@dataclass(frozen=True, slots=True)
class Lead:
    """What a page says first: a decision in sentences, and its tables."""

    sentences: Sequence[str]
    tables: Sequence[PlainTable]
