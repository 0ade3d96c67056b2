"""One contract of progress: every long function tells the same callback the same kind of thing."""

import inspect

import pytest
from support.small_traces import LINEAR, independent_trace

import svsim
from svsim.cli.output import progress_bar
from svsim.latency.linear import LinearLatency
from svsim.progress import Count, Progress


@pytest.fixture
def latency():
    return LinearLatency.from_json(LINEAR, "linear")


@pytest.mark.parametrize("name", ["replay", "analytic", "info", "value"])
def test_counts_up_to_the_end(name, latency):
    told: list[Progress] = []
    trace = independent_trace(40, 4, seed=1)
    getattr(svsim, name)(trace, latency=latency, progress=told.append)
    assert told and all(isinstance(one, Progress) for one in told)
    done = [one.done for one in told]
    assert done == sorted(done) and done[-1] == told[-1].total > 0
    assert len({(one.what, one.total) for one in told}) == 1


@pytest.mark.parametrize("name", ["replay", "analytic", "info", "value", "capture", "calibrate"])
def test_the_same_word_everywhere(name):
    parameter = inspect.signature(getattr(svsim, name)).parameters["progress"]
    assert "OnProgress" in str(parameter.annotation) or "Progress], None]" in str(parameter.annotation)
    assert parameter.default is None


def test_nobody_need_listen():
    Count(None, "units", 3)(1)


def test_time_left_is_at_the_mean_pace():
    assert Progress("units", 1, 4, 2.0).eta_s == 6.0
    assert Progress("units", 0, 4, 2.0).eta_s is None


def test_a_long_job_leaves_lines_in_a_log_and_a_short_one_none(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("svsim.progress.time.perf_counter", lambda: now[0])
    for lines in (True, False):
        with progress_bar("cells", lines=lines) as progress:
            for done in range(1, 5):
                now[0] += 6.0
                if progress is not None:
                    progress(Progress("cells", done, 5, 6.0 * done))
        said = capsys.readouterr().err.splitlines()
        expected = ["[    12 s]   cells: 2/5, 18 s left", "[    24 s]   cells: 4/5, 6 s left"]
        assert said == (expected if lines else [])
