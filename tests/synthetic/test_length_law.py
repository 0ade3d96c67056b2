"""Acceptance length by a length law, and what a drafter of a given size costs."""

import pytest
from support.command_line import svsim_json, svsim_refuses

from svsim.errors import InputError, LatencyError
from svsim.latency.draft_heads import head_from_config
from svsim.latency.geometry import model_geometry
from svsim.latency.sized_head import head_config_of_size
from svsim.synthetic.length_law import AcceptanceLengthLaw
from svsim.synthetic.making import ReportedAcceptance, make
from svsim.trace.measurement import visited_starts

TARGET = model_geometry("llama-3.1-8b")


@pytest.mark.parametrize(
    ("text", "length"), [("1.2,0.35,1e8", 4.0), ("0.5,0.25,1e10", 3.0), ("2,-0.5,10", 1.5)]
)
def test_the_trace_has_the_laws_acceptance_length(text, length):
    done = make(
        {}, (), {"num_requests": 256, "num_speculative_tokens": 5}, ReportedAcceptance(length_law=text), 3
    )
    accepted = done.trace.target.num_accepted
    starts = visited_starts(accepted, done.trace.first_position)
    assert 1 + accepted[starts].mean() == pytest.approx(length, rel=0.01)
    assert done.trace.metadata.acceptance_kind == "synthetic"
    (said,) = [note for note in done.notes if note.startswith("length law")]
    assert f"= {length:.3f} tokens per step" in said and "none are published" in said
    assert said in done.trace.metadata.extra["assumed"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2", "expected A,B,X of a + b log10 x"),
        ("1,x,3", "expected A,B,X"),
        ("1,2,0", "x is 0, and has no logarithm"),
        ("nan,2,3", "a and b must be finite"),
    ],
)
def test_what_is_no_law(text, says):
    with pytest.raises(InputError, match=says.replace("+", r"\+")):
        AcceptanceLengthLaw.parse(text)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"acceptance_length": 2.0}, "`acceptance_length` or `length_law`, not both"),
        ({"accept_by_position": ".5"}, "`accept_by_position` or `length_law`, not both"),
        ({"length_law": "9,1,10"}, "out of reach, expected 1 to 4"),
    ],
)
def test_a_law_is_the_only_word_on_acceptance(given, says):
    reported = ReportedAcceptance(**{"length_law": "1,0.3,1e3", **given})
    with pytest.raises(InputError, match=says):
        make({}, (), {"num_requests": 8, "num_speculative_tokens": 3}, reported, 0)


@pytest.mark.parametrize("size", [1e8, 2.4e8, 1e9, 4e9])
def test_a_head_has_the_size_asked_for(size):
    head = head_from_config(head_config_of_size(TARGET, size))
    assert head.num_parameters == pytest.approx(size, rel=1e-3) and head.kind.value == "eagle"


def test_a_head_smaller_than_its_inputs_is_refused():
    with pytest.raises(LatencyError, match=r"out of reach: a head on .* has 75,509,760 parameters at least"):
        head_config_of_size(TARGET, 1e7)


def test_a_larger_drafter_is_accepted_more_and_costs_more(tmp_path):
    rows = []
    for size in ("2e8", "2e9"):
        out = tmp_path / "T.parquet"
        words = (
            "--num-speculative-tokens",
            4,
            "--num-requests",
            64,
            "--target",
            "llama-3.1-8b",
            "--out",
            out,
        )
        svsim_json("synth", "--length-law", f"1,0.3,{size}", "--drafter-parameters", size, *words)
        found = svsim_json("replay", out, "--latency", "roofline", "--hardware", "h100_sxm", "--batch", 4,
                           "--engine", "none", "--method", "sd:k=4")  # fmt: skip
        assert found["trace"]["acceptance_kind"] == "synthetic"
        rows += found["rows"]
    small, large = rows
    assert large["mean_acceptance_length"] - small["mean_acceptance_length"] == pytest.approx(0.3, abs=0.04)
    logits = TARGET.vocabulary_size * TARGET.hidden_size  # the target's, read by both
    weights = (2e9 + logits) / (2e8 + logits)
    assert large["draft_time_s"] / small["draft_time_s"] == pytest.approx(weights, rel=0.05)


def test_a_size_needs_a_target_and_no_other_drafter(tmp_path):
    words = ("synth", "--length-law", "1,0.3,1e8", "--num-speculative-tokens", 4, "--out", tmp_path / "T",
             "--drafter-parameters", "1e8")  # fmt: skip
    assert "give --target" in svsim_refuses(*words)
    assert "leave --draft, --drafter and --head out" in svsim_refuses(
        *words, "--target", "llama-3.1-8b", "--drafter", "eagle3"
    )
