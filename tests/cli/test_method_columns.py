"""Columns of single methods from the command line: drawn, described, replayed, served."""

import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run

from svsim.decoding.preset import Preset
from svsim.decoding.presets import PRESETS
from svsim.trace.file import load_trace

ALSO = (
    "token_rank",
    "judge:share=.7",
    "fused:gain=.3",
    "exits:layers=2/4/8,of=32,acceptance=.5/.65/.8",
    "blocks:lengths=20/25/30,acceptance=.9",
)
METHODS = (
    "kangaroo:k=6",
    "magicdec",
    "easyspec",
    "sd:k=5,head_rows=32000",
    "del",
    "diffuspec",
    "judge:k=7,share=column",
    "reflect",
)
LOSSY = {"judge", "reflect"}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    out = tmp_path_factory.mktemp("columns") / "T.parquet"
    also = [word for text in ALSO for word in ("--also", text)]
    models = ("--target", "llama-3.1-8b", "--draft", "llama-3.2-1b")
    size = ("--num-requests", "60", "--num-speculative-tokens", "7")
    svsim_run("synth", "--acceptance", "0.8", "--greedy", *size, *also, *models, "--out", out)
    return out


def asked(file, *words):
    methods = [word for text in METHODS for word in ("--method", text)]
    return (file, *methods, "--latency", "roofline", "--hardware", "h100_sxm", "--batch", "4", *words)


def test_the_file_says_what_was_drawn(file):
    about = load_trace(file).metadata
    assert about.extra["synthetic_columns"] == list(ALSO) and about.acceptance_kind == "synthetic"
    assert about.exits == {"layers": [2, 4, 8], "num_layers": 32} and list(about.blocks) == [20, 25, 30]
    sizes = svsim_json("info", file)["sizes"]
    named = {"token_rank", "judge_accept", "fused_accept", "exit_match", "block_accepted", "block_length"}
    assert named < set(sizes["target_columns"]) and "exit_prob" in sizes["signals"]


@pytest.mark.parametrize("engine", ["replay", "analytic"])
def test_every_method_has_a_row_and_lossy_ones_say_so(file, engine):
    rows = svsim_json(engine, *asked(file))["rows"]
    assert [row["method"] for row in rows] == [text.partition(":")[0] for text in METHODS]
    for row in rows:
        assert row["goodput_tok_s"] > 0 and row["draft_time_s"] > 0
        assert row["lossless"] is (row["method"] not in LOSSY)
        if row["method"] in LOSSY:
            assert row["replay_kind"] == "approximate"


def test_open_loop(file):
    served = [text for text in METHODS if text != "del"]
    words = [word for text in served for word in ("--method", text)]
    found = svsim_json(
        "serve-sim", file, *words, "--latency", "roofline", "--hardware", "h100_sxm", "--arrivals",
        "poisson:rate=4", "--duration", "5", "--replications", "1",
    )  # fmt: skip
    assert {text.partition(":")[0] for text in served} <= {row["method"] for row in found["rows"]}


def test_methods_lists_options_and_labels():
    entries = {entry["method"]: entry for entry in svsim_json("methods")["methods"]}
    assert {name for name, entry in entries.items() if entry["lossless"] == "lossy"} >= LOSSY
    assert entries["judge"]["option_domains"]["share"]["words"] == ["column"]
    for name, preset in PRESETS.items():
        assert isinstance(preset, Preset) and set(entries[name]["options"]) == set(preset.options)
    assert "head_rows" in entries["eagle"]["options"] and "head_rows" not in entries["td"]["options"]


@pytest.mark.parametrize(
    ("also", "says"),
    [
        ("exit", "unknown --also 'exit'; choose one of token_rank, judge"),
        ("judge", "share is missing; give judge:share=..."),
        ("judge:share=2", "expected a number from 0 to 1"),
        ("judge:chance=.5", "unknown option 'chance'; options: share"),
        ("exits:layers=4/2,of=32,acceptance=.5/.6", "expected rising whole numbers"),
        ("exits:layers=2/4,of=32,acceptance=.5", "expected 2 numbers with / between them"),
        ("exits:layers=2/40,of=32,acceptance=.5/.6", "from 1 to 31"),
    ],
)
def test_refusals_are_one_line(tmp_path, also, says):
    out = tmp_path / "T.parquet"
    assert says in svsim_refuses("synth", "--also", also, "--num-requests", "5", "--out", out)
