"""``svsim reproduce``: bad usage. What it finds is in ``tests/published/test_sv_paper.py``."""

from dataclasses import replace

import pytest
from support.command_line import svsim_refuses
from support.small_traces import independent_trace

from svsim.trace.file import save_trace
from svsim.trace.token_trace import ObservableColumns


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("another-paper",), "sv-paper"),
        (("sv-paper", "--seed", "-1"), "--seed"),
        (("sv-paper", "--trace", "absent.parquet"), "absent.parquet"),
        (("sv-paper", "--report", "-"), "--report"),
    ],
)
def test_bad_usage_is_one_line(arguments, says) -> None:
    assert says in svsim_refuses("reproduce", *arguments)


def test_a_named_trace_without_signals_is_refused(tmp_path) -> None:
    trace = independent_trace(8, 4, seed=1)
    save_trace(replace(trace, observable=ObservableColumns({})), tmp_path / "bare.parquet")
    says = svsim_refuses("reproduce", "sv-paper", "--trace", tmp_path / "bare.parquet")
    assert "similarity" in says
