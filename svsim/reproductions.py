"""The Python face of ``svsim reproduce``: published systems against their own numbers, with a page."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from svsim.papers.reproduction import SystemsResult, reproduce_systems
from svsim.version import __version__


@dataclass(frozen=True, slots=True)
class ReproductionResult(SystemsResult):
    """Rows of the systems asked for, and the page about them."""

    def report(self, path: str | os.PathLike[str], *, command: str = "svsim.reproduce(...)") -> None:
        """Write one offline HTML page: what ``--report`` writes. command: how the page says it was made."""
        from svsim.report.systems_page import write_systems_page  # the only path to plotly

        write_systems_page(self, path, command, __version__)


def reproduce(
    name: str | None = None,
    /,
    *,
    published: float | Mapping[str, float] | None = None,
    **parameters: float | str,
) -> ReproductionResult:
    """Published systems against their own numbers: what follows from what, with errors and verdicts.

    Raises InputError for an unknown system, a parameter that it lacks, or a value out of range.

    Parameters
    ----------
    name: a system of ``svsim reproduce``; None: all of them. Speculative Verification is judged claim by
        claim, by ``svsim.papers.sv_paper.sv_paper.reproduce_sv_paper``.
    published: with parameters, what to compare with: of the first row, or by metric.
    parameters: what the system's law is asked, as ``gamma=9, mat=13.99``.

    >>> svsim.reproduce("pearl", gamma=9, mat=13.99, batch=8).to_frame()  # doctest: +SKIP
    """
    compared = published if isinstance(published, Mapping) else {} if published is None else {"": published}
    return ReproductionResult(reproduce_systems(name, parameters, compared).systems)
