"""Engine profiles: by name and version, and strictly read."""

import json
import math

import pytest
from support.command_line import svsim_json, svsim_refuses

from svsim.catalogue import engine_entries
from svsim.errors import LatencyError
from svsim.latency.engines.catalogue import DEFAULT_ENGINE, engine_profile, engine_profiles
from svsim.latency.engines.profile import FACTORS, SECONDS

OWN = {"name": "mine", "engine": "vLLM", "summary": "of this machine", "constants": {"draft_pass_s": 2e-4}}


def write(tmp_path, **changes):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**OWN, **changes}))
    return str(path)


def test_every_profile_prices_speculation_dearer_than_target_only_steps_are():
    for profile in engine_profiles().values():
        assert set(profile.constants) == {*SECONDS, *FACTORS}
        assert profile.value("draft_pass_s") > 0
        assert 1 <= profile.value("verify_attention") < 3 and 1 <= profile.value("prefill") < 2
        assert 0.03 < profile.price_error <= profile.roofline_mixture_error < 0.5


def test_the_spread_holds_the_value_and_what_pins_it_is_named():
    pinned = engine_profiles()[DEFAULT_ENGINE].constants
    assert all(c.low <= c.value <= c.high for c in pinned.values())
    assert "vllm024-a100-eagle3-k5" in pinned["speculative_host_s"].panels


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("vllm-0.8", "vllm-0.8"),
        ("vllm-0.10.2", "vllm-0.8"),
        ("vllm-0.15", "vllm-0.11"),
        ("vllm-0.24", "vllm-0.20"),
        ("vllm-1.0", "vllm-0.20"),
        ("vllm-0.24-mrv2", "vllm-0.20-mrv2"),
        ("vllm-0.24-sync", "vllm-0.20-sync"),
        ("vllm", "vllm-0.20"),
        ("sglang-0.4.6", "sglang-0.4"),
        ("sglang-0.5.6", "sglang-0.5"),
        ("trtllm", "trtllm"),
    ],
)
def test_a_version_finds_the_profile_that_covers_it(name, found):
    assert engine_profile(name).name == found


def test_none_is_no_profile():
    assert engine_profile("none") is None


@pytest.mark.parametrize(
    "name", ["vllm-0.2", "triton", "", "vllm-0.24-x", "..", "vllm-" + "9" * 400, "sglang\x1b[2J"]
)
def test_an_unknown_engine_lists_the_known(name):
    with pytest.raises(LatencyError, match=r"known: vllm-0\.8, .*trtllm, none") as caught:
        engine_profile(name)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_a_profile_of_ones_own_adds_only_what_it_says(tmp_path):
    mine = engine_profile(write(tmp_path))
    assert mine.value("draft_pass_s") == 2e-4
    assert mine.value("speculative_host_s") == 0 and mine.value("verify_attention") == 1
    assert mine.price_error is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"constants": {"draft_pass_s": -1e-4}}, "draft_pass_s is -0.0001; expected a number from 0 to 1"),
        ({"constants": {"draft_pass_s": True}}, "draft_pass_s is true"),
        ({"constants": {"draft_pass_s": "1"}}, "draft_pass_s is"),
        ({"constants": {"verify_attention": 0}}, "expected a number from 0.1 to 10"),
        ({"constants": {"draft_pass_s": {"value": 2e-4, "low": 3e-4}}}, "expected a rising order"),
        ({"constants": {"draft_pass_s": {"low": 3e-4}}}, "draft_pass_s.value is missing"),
        ({"constants": {"draft_pass_s": {"value": 1e-4, "panels": [1]}}}, "panels is"),
        ({"constants": {"drat_pass_s": 1}}, "unknown key drat_pass_s"),
        ({"constants": []}, "constants is"),
        ({"colour": "red"}, "unknown key colour"),
        ({"name": ""}, "name is"),
        ({"summary": None}, "summary is missing"),
        ({"first_version": "new"}, "first_version is"),
        ({"prefills_apart": "yes"}, "prefills_apart is"),
        ({"price_error": -0.1}, "price_error is -0.1"),
        ({"largest_batch_size": 0}, "largest_batch_size is 0"),
        ({"largest_batch_size": 1.5}, "expected a whole number"),
        ({"error_per_doubling": -1}, "error_per_doubling is -1"),
        ({"errors": {"speedup": {"mean": 0.1}}}, "errors.speedup.num_cells is missing"),
    ],
)
def test_a_malformed_profile_is_one_line(tmp_path, changes, complaint):
    with pytest.raises(LatencyError) as caught:
        engine_profile(write(tmp_path, **changes))
    message = str(caught.value)
    assert message.startswith(("mine.json", str(tmp_path))) and complaint in message and "\n" not in message


@pytest.mark.parametrize("text", ["{", "[]", '{"constants": {"draft_pass_s": NaN}}', '{"name": 1e999}', ""])
def test_a_file_that_is_no_profile_is_one_line(tmp_path, text):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(LatencyError) as caught:
        engine_profile(str(path))
    assert "mine.json" in str(caught.value) and "\n" not in str(caught.value)


def test_the_list_says_what_pins_a_profile_and_how_wrong_it_was():
    listed = svsim_json("engines")["engines"]
    assert [entry["name"] for entry in listed] == list(engine_profiles())
    default = next(entry for entry in listed if entry["is_default"])
    assert default == json.loads(json.dumps(engine_entries([DEFAULT_ENGINE])[0]))
    assert default["errors"]["speedup"]["num_panels"] >= 5
    assert math.isclose(default["price_error"], engine_profiles()[DEFAULT_ENGINE].price_error)


def test_the_command_refuses_an_unknown_engine():
    assert "known: vllm-0.8" in svsim_refuses("engines", "nothing")


def test_without_asynchronous_scheduling_every_step_takes_longer_by_what_it_hides():
    usual, sync = engine_profile("vllm-0.24"), engine_profile("vllm-0.24-sync")
    for name in ("target_only_host_s", "speculative_host_s"):
        assert sync.value(name) == pytest.approx(usual.value(name) + usual.value("async_hidden_s"), rel=0.01)
    assert sync.value("draft_pass_s") == usual.value("draft_pass_s")


def test_beyond_the_batches_that_judged_a_profile_its_error_grows():
    profile = engine_profile("sglang-0.5-sync")
    largest = profile.largest_batch_size
    assert profile.error_at(1) == profile.error_at(largest) == profile.price_error
    four_times = math.hypot(profile.price_error, 2 * profile.error_per_doubling)
    assert profile.error_at(4 * largest) == pytest.approx(four_times)
    assert four_times > profile.price_error
    assert profile.error_at(largest, True) == profile.roofline_mixture_error
    assert engine_profile(DEFAULT_ENGINE).largest_batch_size >= 64
