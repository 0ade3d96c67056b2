"""Every format of ``svsim import``: what a small file of it says, and every way it can be broken."""

from pathlib import Path

import pytest
from support.recordings import (
    BENCH,
    GOLDEN,
    RECORDINGS,
    VLLM_LOG,
    Recording,
    jsonl,
    response,
    scrape,
)
from support.shared_data import shared
from support.small_traces import StairLatency

import svsim
from svsim.errors import InputError
from svsim.importing.formats import FORMATS, Imported, import_acceptance
from svsim.importing.record import ImportOptions


def imported(recording: Recording, folder: Path, **options: object) -> Imported:
    told = ImportOptions(**{**recording.options, **options})  # type: ignore[arg-type]
    return import_acceptance(recording.format_name, recording.write(folder), told)


RULE = ("expected", "give", "leave", "choose", "rename")


def refused(recording: Recording, folder: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        imported(recording, folder, **options)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 700, message
    assert any(word in message for word in RULE), message
    return message


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_format_replays_as_recorded(tmp_path, name):
    recording = RECORDINGS[name]
    made = imported(recording, tmp_path)
    acceptance, meta = made.acceptance(), made.trace.metadata
    assert acceptance["k"] == recording.k
    assert acceptance["mean_acceptance_length"] == pytest.approx(recording.length, rel=0.01)
    if recording.rates is not None:
        assert acceptance["rates_at_step_starts"] == pytest.approx(recording.rates, abs=0.01)
    assert meta.acceptance_kind == "imported" and meta.extra["source"]["format"] == recording.format_name
    target = meta.models.get("target", {"name": None})
    assert (target["name"], meta.hardware) == (recording.model, None)
    row = svsim.replay(
        made.trace, methods=[f"sd:k={recording.k}"], batch_sizes=[1], latency=StairLatency(), jobs=1
    ).rows[0]
    assert row.mean_acceptance_length == pytest.approx(recording.length, rel=0.01)


def test_every_format_has_an_example():
    assert {recording.format_name for recording in RECORDINGS.values()} == set(FORMATS)
    with pytest.raises(InputError, match="unknown format excel; known: specdecode-bench, vllm-metrics"):
        import_acceptance("excel", ["a"])


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("share", [0.0, 0.15, 0.35, 0.55, 0.75, 0.95])
def test_truncated_files_say_what_was_expected(tmp_path, name, share):
    """Cut anywhere, a file is refused in one line; or what is left of it is whole lines, and is read."""
    recording = RECORDINGS[name]
    *rest, (last, text) = recording.files.items()
    cut = text[: int(share * len(text))]
    broken = Recording(
        recording.format_name, dict([*rest, (last, cut)]), recording.k, 0.0, options=recording.options
    )
    try:
        made = imported(broken, tmp_path)
    except InputError:
        assert last in refused(broken, tmp_path)
        return
    # logs, CSV and YAML may end where they like: then what is there is read; JSON and scrapes may not
    assert cut.endswith("\n") or last.endswith((".log", ".csv", ".yaml"))
    assert made.acceptance()["k"] <= recording.k


@pytest.mark.parametrize("name", RECORDINGS)
def test_files_of_another_format_are_refused(tmp_path, name):
    recording = RECORDINGS[name]
    for other in ("vllm-log", "vllm-bench", "golden-al", "accept-lengths, CSV", "spec-bench"):
        if RECORDINGS[other].format_name == recording.format_name:
            continue
        (text,) = RECORDINGS[other].files.values()
        last = list(recording.files)[-1]
        files = {**recording.files, last: text}
        message = refused(
            Recording(recording.format_name, files, 3, 0.0, options=recording.options), tmp_path
        )
        assert last in message


def test_missing_and_surplus_files(tmp_path):
    for name in FORMATS:
        with pytest.raises(InputError, match="no such file"):
            import_acceptance(name, [tmp_path / "absent"])
    paths = RECORDINGS["vllm-bench"].write(tmp_path)
    with pytest.raises(InputError, match="vllm-bench: 2 files, expected one file"):
        import_acceptance("vllm-bench", paths * 2)
    with pytest.raises(InputError, match="3 files, expected one file, or two: before, after"):
        import_acceptance("vllm-metrics", paths * 3)


def metrics(text: str, *more: str) -> Recording:
    files = {f"m{i}.prom": part for i, part in enumerate((text, *more))}
    return Recording("vllm-metrics", files, 3, 0.0)


SCRAPE = scrape("vllm", 1000, 3000, [700, 400, 100])


def test_counters_that_go_backwards(tmp_path):
    message = refused(metrics(SCRAPE, scrape("vllm", 900, 3300, [800, 500, 200])), tmp_path)
    assert "m1.prom, line 3: vllm:spec_decode_num_drafts goes back from 1000 to 900" in message
    assert "swapped" in message
    lost = "\n".join(SCRAPE.splitlines()[:-1]) + "\n"
    assert "is missing in the second scrape" in refused(metrics(SCRAPE, lost), tmp_path)
    assert "counts no step that drafted" in refused(metrics(SCRAPE, SCRAPE), tmp_path)


def test_missing_positions(tmp_path):
    lines = SCRAPE.splitlines()
    gap = "\n".join([*lines[:-2], lines[-1]]) + "\n"
    assert "accepted tokens of position 1 are missing, expected all of 0 to 2" in refused(
        metrics(gap), tmp_path
    )
    # the last ones missing: the total still says what they add up to, and a note says what was expected
    short = "\n".join(lines[:-2]) + "\n"
    made = imported(metrics(short), tmp_path)
    assert made.acceptance()["mean_acceptance_length"] == pytest.approx(2.2, rel=0.002)
    assert made.acceptance()["rates_at_step_starts"][0] == pytest.approx(0.7, abs=0.002)
    assert "positions 1..2 of 3 missing, expected accepted tokens of each" in made.notes[0]
    assert made.acceptance()["recorded"]["num_known_rates"] == 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("num_drafts_total{", "num_drafts_totol{", "vllm:spec_decode_num_drafts is missing"),
        ("1000.0", "0.0", "counts no step that drafted"),
        ("1000.0", "1000.5", "is 1000.5, expected a whole number"),
        ("1000.0", "NaN", "the value is NaN"),
        ("1000.0", "-3", "the value is -3"),
        ("3000.0", "1000.0", "1200 draft tokens accepted of 1000 drafted"),
        (" 1200.0", " 900.0", "positions add up to 1.200 accepted tokens per step, the total to 0.900"),
        ("400.0", "800.0", "positions add up to"),
        ('position="1"', 'position="one"', "position is 'one'"),
        ('position="1"', 'position="0"', "accepted"),
        ('{model_name="qwen"} 1000', '{model_name="qwen} 1000', "cannot be read"),
    ],
)
def test_wrong_counters_are_named(tmp_path, old, new, expected):
    assert old in SCRAPE
    assert expected in refused(metrics(SCRAPE.replace(old, new, 1)), tmp_path)


def test_engines_are_added_up_and_models_are_chosen(tmp_path):
    two = scrape("vllm", 1000, 3000, [900, 800, 700], 'engine="0",model_name="qwen"')
    two += scrape("vllm", 1000, 3000, [500, 0, 0], 'engine="1",model_name="qwen"')
    assert imported(metrics(two), tmp_path).acceptance()["rates_at_step_starts"] == pytest.approx(
        [0.7, 0.4, 0.35], abs=0.002
    )
    two = two.replace('engine="1",model_name="qwen"', 'engine="1",model_name="llama"')
    assert "holds counters of llama, qwen; choose one with `series`" in refused(metrics(two), tmp_path)
    made = imported(metrics(two), tmp_path, series="llama")
    assert made.acceptance()["mean_acceptance_length"] == pytest.approx(1.5, rel=0.002)
    assert made.trace.metadata.models["target"]["name"] == "llama"
    assert "choose from: llama, qwen" in refused(metrics(two), tmp_path, series="gpt")


def test_k_is_the_files_or_the_users_never_both(tmp_path):
    message = refused(metrics(SCRAPE), tmp_path, k=5)
    assert "`k` 5 contradicts 3 draft tokens per step and 3 positions" in message
    sglang = RECORDINGS["sglang-log, bench"]
    bare = Recording("sglang-log", sglang.files, 3, 0.0)
    assert "not how many tokens were drafted; give `k`" in refused(bare, tmp_path)
    assert "out of reach, expected 1 to 1.5" not in refused(bare, tmp_path, k=300)
    assert "contradicts k = 4 in the file" in refused(RECORDINGS["sglang-metrics"], tmp_path, k=3)
    tight = Recording("aiperf", RECORDINGS["aiperf"].files, 4, 0.0)
    assert "out of reach, expected 1 to 2 with k = 1" in refused(tight, tmp_path, k=1)


def test_drafts_of_unequal_length_keep_their_rates(tmp_path):
    """An n-gram drafter proposes up to k tokens: rates are per draft, k is the number of positions."""
    made = imported(metrics(scrape("vllm", 1000, 2100, [543, 357, 264])), tmp_path)
    assert made.acceptance()["rates_at_step_starts"] == pytest.approx([0.543, 0.357, 0.264], abs=0.002)
    half = imported(metrics(scrape("vllm", 1000, 2100, [543, 357, 264])), tmp_path, proposal_share=0.5)
    assert half.acceptance()["mean_acceptance_length"] == pytest.approx(1 + 1.164 / 2, rel=0.002)
    assert any("0.5 of the steps draft" in note for note in half.notes)


def test_zero_acceptance_is_an_answer(tmp_path):
    made = imported(metrics(scrape("vllm", 1000, 3000, [0, 0, 0])), tmp_path)
    assert made.acceptance()["mean_acceptance_length"] == 1.0
    none = Recording("accept-lengths", {"a.jsonl": jsonl({"k": 2, "accepted": [0, 0]})}, 2, 1.0)
    assert imported(none, tmp_path).acceptance()["rates_at_step_starts"] == [0.0, 0.0]


def test_lengths_are_the_files_the_users_or_assumed(tmp_path):
    bench = imported(RECORDINGS["vllm-bench"], tmp_path)
    assert bench.trace.num_requests == 40
    assert set(bench.trace.num_prompt_tokens) == {100} and set(bench.trace.num_output_tokens) == {200}
    assert not any("assumed" in note for note in bench.notes)
    recorded = imported(RECORDINGS["aiperf"], tmp_path, num_requests=3).trace
    assert recorded.num_output_tokens.tolist() == [200, 600, 200]
    counters = imported(RECORDINGS["vllm-metrics"], tmp_path)
    assert any("assumed: prompts of 512 tokens" in note for note in counters.notes)
    assert counters.trace.metadata.extra["assumed"] == list(counters.notes)


def test_rates_given_by_hand_must_fit_the_mean(tmp_path):
    sglang = RECORDINGS["sglang-log, bench"]
    made = imported(sglang, tmp_path, accept_by_position=(0.6, 0.2, 0.1))
    assert made.acceptance()["rates_at_step_starts"] == pytest.approx([0.6, 0.2, 0.1], abs=0.002)
    assert "tells a mean acceptance length of 2.100" in refused(
        sglang, tmp_path, accept_by_position=(0.7, 0.3, 0.1)
    )
    even = imported(sglang, tmp_path, shape="even").acceptance()["rates_at_step_starts"]
    assert even == pytest.approx([0.3, 0.3, 0.3], abs=0.002)
    assert "shape round is unknown" in refused(sglang, tmp_path, shape="round")


def test_steps_are_kept_in_order(tmp_path):
    made = imported(RECORDINGS["accept-lengths, CSV"], tmp_path)
    trace = made.trace
    assert trace.metadata.chains == "stepwise" and trace.request_ids == ("r0", "r1", "r2")
    assert trace.num_output_tokens.tolist() == [10, 2, 10] and set(trace.num_prompt_tokens) == {40}
    assert trace.target.num_accepted[[0, 3, 4, 8]].tolist() == [2, 0, 3, 1]
    more = imported(RECORDINGS["accept-lengths, CSV"], tmp_path, num_requests=7)
    assert more.trace.num_requests == 7 and "3 recorded requests are repeated to 7" in more.notes
    assert "leave `output_tokens` out" in refused(
        RECORDINGS["accept-lengths"], tmp_path, output_tokens=svsim_length(5)
    )


def svsim_length(tokens: int):
    from svsim.synthetic.settings import LengthLaw

    return LengthLaw(tokens)


def lines(format_name: str, *rows: object, **options: object) -> Recording:
    return Recording(format_name, {"f.jsonl": jsonl(*rows)}, 3, 0.0, options=options)


@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        (lines("accept-lengths", {"k": 3}), "line 1: accepted is missing"),
        (lines("accept-lengths", {"accepted": [1], "emitted": [2]}), "accepted and emitted are both given"),
        (lines("accept-lengths", {"k": 3, "emitted": [0]}), "emitted is a list with 0, expected"),
        (lines("accept-lengths", {"k": 2, "accepted": [3]}), "line 1: 3 accepted tokens in a step"),
        (lines("accept-lengths", {"k": 2, "accepted": []}), "a list of at least one step"),
        (lines("accept-lengths", {"k": 2, "accepted": [1]}, {"k": 3, "accepted": [1]}), "k is 2 and 3"),
        (
            lines("accept-lengths", *({"request_id": "a", "k": 2, "accepted": [1]},) * 2),
            'line 2: id "a" already occurs',
        ),
        (lines("vllm-requests", {"per_step_accepted": [1, 4], "per_step_drafted": [3, 3]}), "4 of 3"),
        (lines("vllm-requests", {"per_step_accepted": [1], "per_step_drafted": [3, 3]}), "1 values, as"),
        (lines("vllm-requests", {"id": "a"}), "per_step_accepted is missing"),
        (lines("spec-bench", {"choices": [{"accept_lengths": [2, 0]}]}), "accept_lengths is a list with 0"),
        (lines("spec-bench", {"choices": []}), "choices is []"),
        (lines("aiperf", {"metrics": {"spec_decode_acceptance_length": 0.4}}, k=3), "is 0.4, expected"),
        (lines("aiperf", {"metrics": {}}, k=3), "spec_decode_acceptance_length is missing"),
        (lines("trtllm", {"iter": 0}), "no iteration has specDecodingStats"),
        (lines("trtllm", {"specDecodingStats": {"numDraftTokens": 3}}), "WithDraftTokens is missing"),
        (lines("sglang-log", {"accept_length": 0.9}, k=3), "accept_length is 0.9, expected"),
    ],
)  # fmt: skip
def test_wrong_records_are_named(tmp_path, recording, expected):
    assert expected in refused(recording, tmp_path)


def test_histograms_stand_in_for_steps(tmp_path):
    rows = [{"acceptance_histogram": [3, 2, 3, 2], "num_spec_tokens": 3}] * 2
    made = imported(lines("vllm-requests", *rows), tmp_path)
    assert made.acceptance()["rates_at_step_starts"] == pytest.approx([0.7, 0.5, 0.2], abs=0.005)
    listed = Recording("vllm-requests", {"r.json": f"[{response_text()}, {response_text()}]"}, 3, 0.0)
    assert "already occurs" in refused(listed, tmp_path)


def response_text() -> str:
    import json

    return json.dumps(response("same", (1, 2)), indent=1)


def test_logs_are_weighted_by_steps_and_checked(tmp_path):
    def log(text: str) -> Recording:
        return Recording("vllm-log", {"s.log": text}, 3, 0.0)

    assert "rates per position are missing" in refused(log(VLLM_LOG.replace("Per-position", "Per")), tmp_path)
    assert "line 3: positions add up to 0.800" in refused(
        log(VLLM_LOG.replace(", 0.100, Avg", ", Avg")), tmp_path
    )
    assert "is 9, expected 1 to 4" in refused(log(VLLM_LOG.replace("length: 1.90", "length: 9")), tmp_path)
    percent = VLLM_LOG.replace("0.800, 0.500, 0.200", "80.0, 50.0, 20.0")
    assert "a rate per position is 80, expected 0 to 1" in refused(log(percent), tmp_path)


def test_benches_that_contradict_themselves(tmp_path):
    import json

    def bench(**changes: object) -> Recording:
        return Recording("vllm-bench", {"b.json": json.dumps({**BENCH, **changes})}, 2, 0.0)

    assert "accepted / drafts + 1 is 1.900" in refused(bench(spec_decode_acceptance_length=2.9), tmp_path)
    rates = "spec_decode_per_position_acceptance_rates"
    assert "is a list with 60" in refused(bench(**{rates: [60.0, 30.0]}), tmp_path)
    assert "spec_decode_num_drafts is missing" in refused(
        bench(spec_decode_num_drafts=None, spec_decode_acceptance_length=None), tmp_path
    )


def test_golden_lengths_are_levelled_and_chosen(tmp_path):
    golden = RECORDINGS["golden-al"]
    assert "series model-x/thinking_on is taken; others" in imported(golden, tmp_path).notes[0]
    off = imported(golden, tmp_path, series="thinking_off").acceptance()
    assert off["mean_acceptance_length"] == pytest.approx(2.05, rel=0.002)  # though AL falls from k = 2 to 3
    assert off["rates_at_step_starts"][2] == 0.0
    two = imported(golden, tmp_path, series="model-x/thinking_off", k=2).acceptance()
    assert two["rates_at_step_starts"] == pytest.approx([0.7, 0.4], abs=0.002)
    assert "beyond the largest measured k, 3" in refused(golden, tmp_path, k=4)
    assert "choose from: model-x/thinking_on" in refused(golden, tmp_path, series="no")

    def changed(old: str, new: str) -> Recording:
        return Recording("golden-al", {"g.yaml": GOLDEN.replace(old, new, 1)}, 3, 0.0)

    assert "line 5: key 3, expected k = 2 next" in refused(changed("    2: 2.40\n", ""), tmp_path)
    assert "line 4: 2.80 is no acceptance length of k = 1" in refused(changed("1.80", "2.80"), tmp_path)
    assert "is no `key: value`" in refused(changed("model-x:", "model-x"), tmp_path)


@pytest.mark.parametrize("name", ["dsv4_mtp", "kimik2.5_eagle3", "minimaxm3_eagle3", "qwen3.5_mtp"])
@pytest.mark.parametrize("series", ["thinking_on", "thinking_off"])
def test_public_golden_lengths(name, series):
    path = shared("golden_al", f"{name}.yaml")
    block = path.read_text().split(f"{series}:\n")[1].splitlines()[:8]
    lengths = {int(k): float(v) for k, v in (line.split(":") for line in block)}
    for k in (3, 8):
        made = import_acceptance("golden-al", [path], ImportOptions(k=k, series=series, num_requests=64))
        assert made.acceptance()["mean_acceptance_length"] == pytest.approx(lengths[k], rel=0.01)


def test_options_that_a_recording_leaves_no_room_for_are_refused(tmp_path):
    log, steps = RECORDINGS["vllm-log"], RECORDINGS["vllm-requests"]
    assert "leave `shape` out" in refused(log, tmp_path, shape="even")
    assert "a file holds one series" in refused(log, tmp_path, series="llama")
    for name, given in (("shape", "even"), ("proposal_share", 0.5)):
        assert f"its steps are recorded; leave `{name}` out" in refused(steps, tmp_path, **{name: given})
        dense = refused(RECORDINGS["specdecode-bench"], tmp_path, **{name: given})
        assert f"its requests are recorded; leave `{name}` out" in dense


@pytest.mark.parametrize("name", ["vllm-log", "vllm-requests", "aiperf"])
def test_more_requests_than_memory_holds_say_what_they_need(tmp_path, name):
    message = refused(RECORDINGS[name], tmp_path, num_requests=10**12)
    assert "need about" in message and "ask for `num_requests` up to" in message
    assert "expected at least 1" in refused(RECORDINGS[name], tmp_path, num_requests=0)
