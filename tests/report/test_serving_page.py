"""The page of an open-loop run: complete, the same bytes, escaped; drawn at two widths in a browser."""

from pathlib import Path

import pytest
from support.browser import CHROMIUM, look_at
from support.serving_runs import small_trace
from support.small_traces import LINEAR

import svsim
from svsim.errors import InputError
from svsim.latency.linear import LinearLatency
from svsim.open_loop.result import ServingResult
from svsim.report.serving_page import render

LATENCY = LinearLatency.from_json(LINEAR, "test")
HOSTILE = "<img src=x onerror=parent.hacked=1>.csv"


@pytest.fixture(scope="module")
def result() -> ServingResult:
    return svsim.serve_sim(
        small_trace(),
        arrivals="poisson:rate=8",
        duration=60.0,
        warm_up=10.0,
        replications=2,
        methods=["td", "sd:k=3"],
        latency=LATENCY,
        replicas=2,
        failure="replica=1,at=30,for=10",
        slo=["ttft:p99=0.5", "tpot:p50=0.05"],
        max_num_seqs=4,
        jobs=1,
    )


@pytest.fixture(scope="module")
def page(result: ServingResult, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "waits.html"
    result.report(path)
    return path.read_text(encoding="utf-8")


def test_the_decision_comes_first_and_every_question_has_its_section(
    page: str, result: ServingResult
) -> None:
    words = page[: page.index("What users meet")]
    assert result.verdict[0]["words"].split(":")[0] in words
    assert "ttft:p99=0.5, tpot:p50=0.05" in words
    assert "Queues begin to grow" in words  # at 2.8 times the rate nothing keeps up
    for heading in ("Latencies against rate", "Distributions", "Course of the run", "Where the time goes",
                    "Beside the closed loop", "Every number", "Make this page again"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in page
    assert "replica 1 down" in page and "warm-up" in page
    assert "svsim.serve_sim(trace, arrivals=&#x27;poisson:rate=8&#x27;" in page


def test_the_same_question_gives_the_same_bytes(page: str, result: ServingResult, tmp_path: Path) -> None:
    result.report(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_shares_of_time_add_up(result: ServingResult) -> None:
    parts = ("host", "draft", "companion", "verify", "prefill", "idle")
    for row in result.rows:
        assert sum(row[f"{part}_share"] for part in parts) == pytest.approx(1.0, abs=0.01)
        assert row["prefill_share"] > 0 and row["verify_share"] > 0
    assert result.rows[0]["draft_share"] == 0 < result.rows[1]["draft_share"]


def test_a_page_is_not_written_over_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,60,12\n1,60,12\n")
    made = svsim.serve_sim(workload=path, warm_up=0.0, latency=LATENCY)
    with pytest.raises(InputError, match="is read by this run"):
        made.report(path)
    assert path.read_text().startswith("arrival_s")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; install it to open the page")
@pytest.mark.parametrize("width", [1280, 390])
def test_charts_are_drawn_and_nothing_overflows(page: str, width: int, tmp_path: Path) -> None:
    (scroll, inner, drawn, outside, state, _), console = look_at(page, width, tmp_path)
    assert int(scroll) <= int(inner) == width
    # 6 against rate, 3 distributions, 5 courses (the cache is not modelled), 1 of the time
    assert (state, int(drawn), int(outside)) == ("drawn", 15, 0)
    assert console == []


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; install it to open the page")
def test_a_hostile_name_runs_no_script(tmp_path: Path) -> None:
    path = tmp_path / HOSTILE
    path.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i},60,12\n" for i in range(20)))
    made = svsim.serve_sim(workload=path, warm_up=0.0, latency=LATENCY)
    (scroll, inner, _, _, state, hacked), console = look_at(render(made, (), (), HOSTILE), 390, tmp_path)
    assert (state, hacked) == ("drawn", "0") and int(scroll) <= int(inner)
    assert console == []
