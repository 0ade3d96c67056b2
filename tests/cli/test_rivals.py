"""The rivals through the command line: rows, what a trace must have, refusals in one line."""

import json

import pytest
from support.command_line import svsim_json, svsim_refuses
from support.small_traces import LINEAR, independent_trace, with_draft_signals

from svsim.decoding.rivals import RIVALS
from svsim.trace.file import save_trace


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rivals")
    trace = independent_trace(60, 6, seed=1)
    save_trace(with_draft_signals(trace), folder / "trace.parquet")
    save_trace(trace, folder / "companion.parquet")
    (folder / "linear.json").write_text(json.dumps(LINEAR))
    return folder


def args(files, trace="trace.parquet"):
    return ["replay", files / trace, "--latency", files / "linear.json"]


@pytest.mark.parametrize("engine", ["replay", "analytic"])
def test_every_rival_has_a_row(files, engine):
    methods = [part for name in RIVALS for part in ("--method", name)]
    rows = svsim_json(engine, *args(files)[1:], *methods, "--batch", "4")["rows"]
    assert [row["method"] for row in rows] == list(RIVALS)
    for row in rows:
        assert row["goodput_tok_s"] > 0 and row["mean_verification_length"] <= 6
        assert (row["companion_time_s"] > 0) == (row["method"] == "staged")
        assert row["lossless"] is (row["method"] not in ("tetris", "staged"))


def test_the_label_of_a_row_asks_for_the_same_method(files):
    """What a result shows of a method is enough to run it again."""
    asked = ["adaedl:aim=0.6", "vllm-ladder:ladder=4-3/8-1", "svip:h=0.5", "smartspec:every=5"]
    methods = [part for text in asked for part in ("--method", text)]
    rows = svsim_json(*args(files), *methods, "--batch", "4")["rows"]
    labels = [f"{r['method']}:" + ",".join(f"{k}={v}" for k, v in r["params"].items()) for r in rows]
    again = svsim_json(
        *args(files), *[part for text in labels for part in ("--method", text)], "--batch", "4"
    )
    assert again["rows"] == rows


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("svip", ("svip:k=6 needs the column draft_entropy", "svsim capture", "leave svip:k=6 out")),
        ("adaedl", ("needs the column draft_entropy", "svsim capture")),
        ("dspark", ("needs the column draft_entropy", "svsim capture")),
        ("disco", ("needs the column draft_prob", "svsim capture")),
        ("tetris", ("needs the column draft_prob", "svsim capture")),
        (
            "dspark:signal=draft_confidence",
            ("needs the column draft_confidence", "confidence head", "signal="),
        ),
    ],
)
def test_a_missing_column_is_named_with_the_way_to_get_it(files, method, says):
    message = svsim_refuses(*args(files, "companion.parquet"), "--method", method)
    for words in (*says, "it has: companion_accept, similarity"):
        assert words in message


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("tetris:k=4,extra=4", "leaves nothing of k=4"),
        ("vllm-ladder:ladder=64to3", "is not a ladder"),
        ("svip:h=30", "h=30 is not a number from 0 to 10"),
        ("disco:confidence=0.4", "unknown option"),
        ("vllm-ladder:ladder=4-7", "the trace holds chains of K = 6"),
        ("sv:k=6,overlap=half", "batch 5 is odd"),
        ("sv:k=6,overlap=both", "choose one of none, half, full"),
    ],
)
def test_refusals_are_one_line_and_exit_code_2(files, method, says):
    assert says in svsim_refuses(*args(files), "--method", method, "--batch", "5")


def test_methods_tells_what_each_one_reads():
    reads = {m["method"]: m["needs"] for m in svsim_json("methods")["methods"]}
    assert reads["svip"] == reads["adaedl"] == reads["vllm-adaptive"] == ["draft_entropy"]
    assert reads["disco"] == reads["tetris"] == ["draft_prob"]
    assert reads["staged"] == ["companion_accept"]
    assert reads["smartspec"] == reads["eagle"] == reads["vllm-ladder"] == []
