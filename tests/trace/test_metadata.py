"""The JSON of the metadata key ``svsim``: what is kept, what is refused."""

import json

import pytest
from support.trace_examples import METADATA, example_columns, write_raw

from svsim.errors import TraceError, printable
from svsim.trace.file import load_trace
from svsim.trace.metadata import MAX_METADATA_BYTES, decode_metadata, encode_metadata
from svsim.trace.token_trace import TraceMetadata

FULL = TraceMetadata(
    num_speculative_tokens=7,
    acceptance_kind="captured",
    chains="coherent",
    models={"target": {"name": "T", "geometry": {"num_layers": 80}}, "draft": {"name": "D"}},
    sampling={"greedy": True, "temperature": 0.0},
    dataset="gsm8k",
    hardware="h200_sxm",
    software={"torch": "2.13.0"},
    seed=2**40,
    command="svsim capture",
    date="2026-01-01",
    extra={"note": "<script>alert(1)</script>", "nested": {"x": [1, None, 2.5]}},
)


@pytest.mark.parametrize("metadata", [FULL, TraceMetadata(1, "imported", "independent")])
def test_round_trip(metadata):
    data = encode_metadata(metadata, "f")
    assert decode_metadata(data, "f") == metadata
    assert encode_metadata(decode_metadata(data, "f"), "f") == data
    assert data.isascii()


def test_the_keys_are_the_fields(tmp_path):
    values = json.loads(encode_metadata(FULL, "f"))
    assert values["format_version"] == 1
    assert values["note"] == "<script>alert(1)</script>"
    assert "extra" not in values


BROKEN = {
    "not UTF-8": (b"\xff\xfe{}", "not valid JSON"),
    "not JSON": (b"{'a': 1}", "not valid JSON"),
    "cut": (b'{"format_version": 1', "not valid JSON"),
    "NaN": (json.dumps({**METADATA, "x": float("nan")}).encode(), "NaN is not JSON"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, "not valid JSON"),
    "long number": (b'{"format_version": ' + b"1" * 10_000 + b"}", "not valid JSON"),
    "lone surrogate": (json.dumps({**METADATA, "dataset": "\ud800"}).encode(), "not valid JSON"),
    "an array": (b"[1]", "holds no JSON object"),
    "a number": (b"1", "holds no JSON object"),
    "null": (b"null", "holds no JSON object"),
    "empty": (b"", "not valid JSON"),
    "10 MB text": (
        json.dumps({**METADATA, "dataset": "x" * 10**7}).encode(),
        f"at most {MAX_METADATA_BYTES}",
    ),
    "no version": ({"format_version": None}, "format_version: got 'missing'"),
    "future version": ({"format_version": 2}, "format version 2, expected 1"),
    "version text": ({"format_version": "1"}, "format version 1, expected 1"),
    "version true": ({"format_version": True}, "format version True"),
    "no K": ({"num_speculative_tokens": None}, "num_speculative_tokens: got 'missing'"),
    "K zero": ({"num_speculative_tokens": 0}, "got 0, expected an integer in 1..255"),
    "K absurd": ({"num_speculative_tokens": 10**30}, "expected an integer in 1..255"),
    "K float": ({"num_speculative_tokens": 3.0}, "got 3.0"),
    "K true": ({"num_speculative_tokens": True}, "got True"),
    "no kind": ({"acceptance_kind": None}, "acceptance_kind: got 'missing'"),
    "unknown kind": ({"acceptance_kind": "guessed"}, "expected one of captured, reconstructed"),
    "kind is a list": ({"acceptance_kind": ["captured"]}, "got ['captured']"),
    "unknown chains": ({"chains": "\x1b[31m"}, "chains: got '\\x1b[31m'"),
    "models is a list": ({"models": [1]}, "models: got [1], expected an object"),
    "model is a text": ({"models": {"target": "T"}}, "models.target: got 'T'"),
    "model name is a number": ({"models": {"target": {"name": 5}}}, "models.target"),
    "sampling is null": ({"sampling": "greedy"}, "sampling: got 'greedy'"),
    "greedy is a text": ({"sampling": {"greedy": "no"}}, "sampling.greedy: got 'no', expected true or false"),
    "software version": ({"software": {"torch": 2}}, "software.torch: got 2"),
    "seed is a text": ({"seed": "1"}, "seed: got '1'"),
    "dataset is a list": ({"dataset": []}, "dataset: got []"),
    "date is a number": ({"date": 2026}, "date: got 2026"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_metadata(tmp_path, case):
    change, expected = BROKEN[case]
    metadata = change
    if isinstance(change, dict):
        metadata = {name: value for name, value in {**METADATA, **change}.items() if value is not None}
    path = write_raw(tmp_path / "t", example_columns(), metadata)
    with pytest.raises(TraceError) as caught:
        load_trace(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert message.isprintable()
    assert len(message) < 500


def test_k_of_the_metadata_must_be_that_of_the_lists(tmp_path):
    path = write_raw(tmp_path / "t", example_columns(), {**METADATA, "num_speculative_tokens": 4})
    with pytest.raises(TraceError, match="expected lists of length K = 4"):
        load_trace(path)


def test_printable():
    assert printable("plain ünïcode 漢字") == "plain ünïcode 漢字"
    assert printable("a\nb\x1b[31mc\u202ed\ud800e\x00") == "a?b?[31mc?d?e?"
    assert printable("x" * 300, 10) == "xxxxxxxxxx..."
