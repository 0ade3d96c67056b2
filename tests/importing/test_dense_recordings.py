"""SpecDecode-Bench recordings: dense traces, of whatever model."""

import json
import os

import numpy as np
import pytest
from support.shared_data import shared
from support.specdecode_bench import specdecode_bench_trace
from support.trace_examples import assert_same_trace

from svsim.errors import InputError
from svsim.importing.formats import import_acceptance
from svsim.importing.record import ImportOptions
from svsim.trace.file import load_trace, save_trace


def line(name="r", lengths=(1, 3, 2), **changes):
    values = {
        "id": name,
        "prompt_token_ids": [5, 6, 7, 8],
        "generated_token_ids": [1, 2],
        "acc_eagle": {"acc_len": list(lengths)},
        "acc_ngram": {"acc_len": [2]},
    }
    return json.dumps({**values, **changes})


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    path = write(tmp_path / "math.jsonl", line("r"), "", line(7, (4, 1), prompt_token_ids=[]))
    trace = specdecode_bench_trace(path, "eagle")
    assert trace.request_ids == ("r", "7")
    assert trace.first_position.tolist() == [0, 3, 5]
    assert trace.num_prompt_tokens.tolist() == [4, 0]
    assert trace.target.num_accepted.tolist() == [0, 2, 1, 3, 0]
    assert trace.observable.signals == {}
    meta = trace.metadata
    assert (meta.num_speculative_tokens, meta.acceptance_kind, meta.chains) == (3, "imported", "independent")
    assert (meta.dataset, meta.date, meta.models["draft"]["name"]) == ("math", "1970-01-01", "EAGLE")
    assert meta.extra["source"]["drafter"] == "eagle"
    assert specdecode_bench_trace(path, "ngram").num_speculative_tokens == 1
    save_trace(trace, tmp_path / "t")
    assert_same_trace(load_trace(tmp_path / "t"), trace)


def test_what_no_file_says_is_unknown_unless_the_user_says_it(tmp_path):
    """The form names neither model nor hardware nor sampling: another model's file is not Llama's on H100."""
    path = write(tmp_path / "f.jsonl", line())
    unsaid = specdecode_bench_trace(path).metadata
    assert (unsaid.hardware, unsaid.sampling, "target" in unsaid.models) == (None, {}, False)
    told = ImportOptions(k=5, greedy=True, models={"target": {"name": "qwen3-32b"}})
    said = import_acceptance("specdecode-bench", [path], told).trace.metadata
    assert said.is_greedy and said.models["target"] == {"name": "qwen3-32b"}
    assert said.num_speculative_tokens == 5
    with pytest.raises(InputError, match="its requests are recorded; leave `num_requests` out"):
        import_acceptance("specdecode-bench", [path], ImportOptions(num_requests=3))
    with pytest.raises(
        InputError, match=r"`k` 1 is out of range, expected 2 \(the most that a step accepted\)"
    ):
        specdecode_bench_trace(path, k=1)


def test_no_acceptance_at_all_is_an_answer(tmp_path):
    path = write(tmp_path / "never", line(lengths=(1, 1)))
    made = import_acceptance("specdecode-bench", [path])
    assert made.trace.num_speculative_tokens == 1 and "does not say K; taken as 1" in made.notes[0]
    trace = specdecode_bench_trace(path, k=4)
    assert trace.num_speculative_tokens == 4 and not trace.target.num_accepted.any()


BROKEN = {
    "not JSON": ("{", "line 2: not valid JSON"),
    "not an object": ("[1, 2]", "line 2: holds no JSON object"),
    "deep": ("[" * 100_000, "line 2: not valid JSON"),
    "no id": (line(id=None), "line 2: id is missing, expected a string or an integer"),
    "id is a list": (line(id=[1]), "line 2: id is [1]"),
    "id is true": (line(id=True), "line 2: id is true"),
    "id twice": (line("first"), 'line 2: id "first" already occurs in line 1'),
    "no prompt": (line(prompt_token_ids=None), "line 2: prompt_token_ids is missing"),
    "prompt is a number": (line(prompt_token_ids=12), "line 2: prompt_token_ids is 12"),
    "no drafter": (line(acc_eagle=None), "line 2: acc_eagle.acc_len is missing"),
    "drafter is a list": (line(acc_eagle=[1]), "line 2: acc_eagle.acc_len is missing"),
    "no lengths": (line(lengths=()), "line 2: acc_eagle.acc_len is []"),
    "length zero": (line(lengths=(1, 0)), "line 2: acc_eagle.acc_len is a list with 0"),
    "length is a float": (line(lengths=(1, 2.0)), "a list with 2.0"),
    "length is NaN": (line(lengths=(1, float("nan"))), "a list with NaN"),
    "length is huge": (line(lengths=(1, 10**400)), "line 2: not valid JSON (a whole number of 401 digits)"),
    "length is true": (line(lengths=(1, True)), "a list with true"),
    "long id": (line("x" * 600), "600 characters"),
    "lone surrogate": (line("\ud800"), "no Unicode text"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_lines(tmp_path, case):
    bad, expected = BROKEN[case]
    with pytest.raises(InputError) as caught:
        specdecode_bench_trace(write(tmp_path / "f.jsonl", line("first"), bad), "eagle")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'f.jsonl'}")
    assert expected in message
    assert message.isprintable()
    assert len(message) < 500


def test_broken_files(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0\0")
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "", "pipe"):
        with pytest.raises(InputError, match=r"no such file|no regular file"):
            specdecode_bench_trace(tmp_path / name, "eagle")
    with pytest.raises(InputError, match="line 1: not UTF-8 text"):
        specdecode_bench_trace(tmp_path / "binary", "eagle")
    with pytest.raises(InputError, match="holds no requests"):
        specdecode_bench_trace(write(tmp_path / "blank", "", " "), "eagle")
    with pytest.raises(InputError, match="'medusa' is not in SpecDecode-Bench; expected one of eagle, ngram"):
        specdecode_bench_trace(tmp_path / "blank", "medusa")


@pytest.mark.parametrize(
    ("dataset", "drafter", "num_positions", "k"),
    [
        ("gsm8k", "eagle", 49612, 15),
        ("gsm8k", "ngram", 49848, 20),
        ("cnn", "eagle", 96644, 17),
        ("cnn", "ngram", 96856, 20),
    ],
)
def test_real_recordings(dataset, drafter, num_positions, k):
    path = shared("specdecode-bench", f"{dataset}.jsonl")
    trace = specdecode_bench_trace(path, drafter)
    assert (trace.num_requests, trace.num_positions, trace.num_speculative_tokens) == (300, num_positions, k)
    # by hand, for one request in the middle of the file
    record = json.loads(path.read_text().splitlines()[117])
    request = trace.request_ids.index(record["id"])
    one = trace.select(np.array([request]))
    assert (one.target.num_accepted + 1).tolist() == record[f"acc_{drafter}"]["acc_len"]
    assert one.num_prompt_tokens.tolist() == [len(record["prompt_token_ids"])]
