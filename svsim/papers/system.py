"""A published system: what its law is, what its paper prints, and what may be asked."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet


@dataclass(frozen=True, slots=True)
class System:
    """One system of the table.

    paper: who printed the numbers. law: what predicts, from what. evidence: the published rows with their
    predictions. ask: predictions for the caller's own parameters (None: nothing to ask). facts_name: the
    file of the paper's numbers, where systems share one.
    """

    name: str
    title: str
    paper: str
    law: str
    evidence: Callable[[Sheet], None]
    parameters: tuple[Parameter, ...] = ()
    ask: Callable[[Sheet, Values], None] | None = None
    facts_name: str = ""

    def reproduce(self) -> Sheet:
        """Every published row."""
        sheet = Sheet(self.name)
        self.evidence(sheet)
        return sheet

    def predict(self, values: Values) -> Sheet:
        """Rows for the caller's parameters."""
        sheet = Sheet(self.name)
        if self.ask is not None:
            self.ask(sheet, values)
        return sheet

    @property
    def source(self) -> str:
        """Where its numbers stand."""
        return str(facts(self.facts_name or self.name)["source"])


@cache
def facts(name: str) -> dict[str, Any]:
    """What a paper prints, with its place there: ``svsim/papers/systems/NAME.json``."""
    text = resources.files("svsim.papers.systems").joinpath(f"{name}.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
