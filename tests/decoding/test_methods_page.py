"""docs/methods.md: every preset is in its table, its defaults are the code's, and its example runs."""

import importlib.util
import re
from pathlib import Path

import numpy as np
from support.small_traces import StairLatency, independent_trace

from svsim.analytic_model.model import AnalyticModel
from svsim.decoding.drafters import DRAFTER_NAMES
from svsim.decoding.presets import PRESETS, parse_method
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.trace.parts import MemorySource

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
METHODS, _, REST = PAGE.partition("## What drafts")
DRAFTERS = REST.partition("## A new method")[0]


def test_the_table_has_every_method_and_its_label():
    rows = {m[1]: m[0].split("|") for m in re.finditer(r"^\| `([a-z0-9-]+)` \|.*", METHODS, re.MULTILINE)}
    assert list(rows) == list(PRESETS)
    for name, cells in rows.items():
        lossless, label = cells[5].strip(), parse_method(name, 7).lossless.value
        assert lossless.startswith(
            {"lossless": "yes", "lossless-greedy-only": "greedy only", "lossy": "no"}[label]
        ), name


def test_the_table_has_every_drafter():
    rows = re.findall(r"^\| (.*?) \|", DRAFTERS, re.MULTILINE)
    assert set(re.findall(r"`([a-z0-9]+)`", " ".join(rows))) == set(DRAFTER_NAMES)


def test_defaults_that_are_named_are_the_code_s():
    options = {name: {k: o.default for k, o in preset.options.items()} for name, preset in PRESETS.items()}
    assert "`dyspec` threshold 0.1" in PAGE and options["dyspec"]["threshold"] == 0.1
    assert "`adaedl` start 0.4" in PAGE and options["adaedl"]["start"] == 0.4
    assert "`smartspec` retry 100" in PAGE and options["smartspec"]["retry"] == 100
    assert "d = 1/0.3 and v = 1/0.7" in PAGE
    assert options["sv"]["draft_slowdown"] == 1 / 0.3 and options["sv"]["verify_slowdown"] == 1 / 0.7


def test_the_example_is_a_method(tmp_path):
    """As printed: it replays, the analytic model agrees, and its length moves up two and down one."""
    file = tmp_path / "example.py"
    file.write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1])
    spec = importlib.util.spec_from_file_location("example", file)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    trace = independent_trace(400, 7, seed=3)
    run = prepare(
        MemorySource(trace), RunSettings((example.heuristic(7),), (4,)), [Deployment(StairLatency())]
    )
    replayed, analytic = (engine(run).run()[0].sums for engine in (ClosedLoopReplay, AnalyticModel))
    goodput = [s.emitted_tokens.sum() / s.seconds.sum() for s in (replayed, analytic)]
    assert abs(goodput[1] / goodput[0] - 1) < 0.03
    assert 1 < replayed.verified_tokens.sum() / replayed.sequence_steps.sum() < 3

    memory, lengths = np.zeros(2048), np.zeros(2, np.int64)
    seen = []
    for accepted in (0, 8, 8, 14, 3, 2, 1):
        memory[example.LAST_ACCEPTED], memory[example.LAST_VERIFIED] = accepted, 2 * lengths[0]
        example.up_two_down_one(
            2, np.zeros((2, 7), np.uint16), np.zeros(15), 0.0, np.array([5.0]), memory,
            np.zeros(1, np.int64), lengths,
        )  # fmt: skip
        seen.append(int(lengths[0]))
    assert seen == [5, 4, 6, 5, 4, 3, 2]
