"""Imports of other projects' recordings."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from support.trace_examples import assert_same_trace

from svsim.errors import InputError, TraceError
from svsim.trace.file import load_trace, save_trace
from svsim.trace.importers import IMPORTERS, import_specdecode_bench

SHARED = Path(
    os.environ.get("SVSIM_SHARED_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data")
)
BENCH = SHARED / "specdecode-bench"


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
    trace = import_specdecode_bench(path, "eagle")
    assert trace.request_ids == ("r", "7")
    assert trace.first_position.tolist() == [0, 3, 5]
    assert trace.num_prompt_tokens.tolist() == [4, 0]
    assert trace.target.num_accepted.tolist() == [0, 2, 1, 3, 0]
    assert trace.observable.signals == {}
    meta = trace.metadata
    assert (meta.num_speculative_tokens, meta.acceptance_kind, meta.chains) == (3, "imported", "independent")
    assert meta.is_greedy
    assert (meta.dataset, meta.date, meta.models["draft"]["name"]) == ("math", "1970-01-01", "EAGLE")
    assert meta.extra["source"]["commit"] == "2fdccbd"
    assert import_specdecode_bench(path, "ngram").num_speculative_tokens == 1
    save_trace(trace, tmp_path / "t")
    assert_same_trace(load_trace(tmp_path / "t"), trace)


def test_the_name_table():
    assert IMPORTERS["specdecode-bench"] is import_specdecode_bench


BROKEN = {
    "not JSON": ("{", "line 2: not JSON"),
    "not an object": ("[1, 2]", "line 2: holds no JSON object"),
    "deep": ("[" * 100_000, "line 2: not JSON"),
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
    "length is huge": (line(lengths=(1, 10**400)), "line 2: acc_eagle.acc_len is a list with 1000"),
    "length is true": (line(lengths=(1, True)), "a list with true"),
    "long id": (line("x" * 600), "600 characters"),
    "lone surrogate": (line("\ud800"), "no Unicode text"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_lines(tmp_path, case):
    bad, expected = BROKEN[case]
    with pytest.raises(TraceError) as caught:
        import_specdecode_bench(write(tmp_path / "f.jsonl", line("first"), bad), "eagle")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'f.jsonl'}")
    assert expected in message
    assert message.isprintable()
    assert len(message) < 500


def test_broken_files(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0\0")
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "", "pipe"):
        with pytest.raises(TraceError, match="no such file, or not a regular one"):
            import_specdecode_bench(tmp_path / name, "eagle")
    with pytest.raises(TraceError, match="line 1: not JSON"):
        import_specdecode_bench(tmp_path / "binary", "eagle")
    with pytest.raises(TraceError, match="holds no requests"):
        import_specdecode_bench(write(tmp_path / "blank", "", " "), "eagle")
    with pytest.raises(TraceError, match=r"largest acc_eagle\.acc_len is 1, expected 2 to 256"):
        import_specdecode_bench(write(tmp_path / "never", line(lengths=(1, 1))), "eagle")
    with pytest.raises(InputError, match="'medusa' is not in SpecDecode-Bench; expected one of eagle, ngram"):
        import_specdecode_bench(tmp_path / "never", "medusa")


@pytest.mark.skipif(not BENCH.is_dir(), reason=f"shared test data absent: {BENCH}")
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
    path = BENCH / f"{dataset}.jsonl"
    trace = import_specdecode_bench(path, drafter)
    assert (trace.num_requests, trace.num_positions, trace.num_speculative_tokens) == (300, num_positions, k)
    # by hand, for one request in the middle of the file
    record = json.loads(path.read_text().splitlines()[117])
    request = trace.request_ids.index(record["id"])
    one = trace.select(np.array([request]))
    assert (one.target.num_accepted + 1).tolist() == record[f"acc_{drafter}"]["acc_len"]
    assert one.num_prompt_tokens.tolist() == [len(record["prompt_token_ids"])]
