"""Workload files of every format, and every way they can be wrong."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.shared_data import shared

from svsim.errors import InputError
from svsim.workload.files import FORMATS, read_workload
from svsim.workload.requests import RequestWorkload, cached_prefix_tokens


def lengths(time, prompt=100, output=20, **more):
    return json.dumps({"timestamp": time, "input_length": prompt, "output_length": output, **more})


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
# format -> (file ending, lines of requests at 0, 1.5, 4 s with prompts 100, 200, 300, outputs 20, 30, 40)
SAME = {
    "csv": ("csv", ["arrival_s,prompt_tokens,output_tokens", "0,100,20", "1.5,200,30", "4,300,40"]),
    "azure": (
        "csv",
        [AZURE, "2023-11-16 18:17:03.9799600,100,20", "2023-11-16 18:17:05.4799600,200,30",
         "2023-11-16 18:17:07.97996,300,40"],
    ),
    "burstgpt": (
        "csv",
        [BURST, "5,ChatGPT,100,20,120,API log", "6,GPT-4,77,0,77,API log", "6.5,GPT-4,200,30,230,API log",
         "9,GPT-4,300,40,340,Conversation log"],
    ),
    "mooncake": (
        "jsonl",
        [lengths(27482, hash_ids=[1]), "", lengths(28982, 200, 30), lengths(31482, 300, 40)],
    ),
    "bailian": (
        "jsonl",
        [lengths(61.0, chat_id=1, parent_chat_id=-1, type="text", turn=1),
         lengths(62.5, 200, 30, chat_id=2, parent_chat_id=1, type="text", turn=2),
         lengths(65.0, 300, 40, chat_id=3, parent_chat_id=2, type="search", turn=3)],
    ),
    "aiperf": ("jsonl", [lengths(0), lengths(1500, 200, 30), lengths(4000, 300, 40)]),
    "guidellm": ("jsonl", [lengths(10), lengths(11.5, 200, 30), lengths(14.0, 300, 40)]),
    "vidur": (
        "csv",
        ["arrived_at,num_prefill_tokens,num_decode_tokens", "2,100,20", "3.5,200,30", "6,300,40"],
    ),
}  # fmt: skip


def write(folder: Path, name: str, lines: list[str]) -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reads_the_same_three_requests(tmp_path, name):
    ending, lines = SAME[name]
    found = read_workload(write(tmp_path, f"w.{ending}", lines), name)
    assert found.arrival_s == pytest.approx([0, 1.5, 4], abs=1e-6)
    assert found.num_prompt_tokens.tolist() == [100, 200, 300]
    assert found.num_output_tokens.tolist() == [20, 30, 40]
    assert found.source["format"] == name and found.rate == pytest.approx(0.5)
    assert "3 requests in 4.0 s (0.5 requests/s)" in found.describe()
    assert read_workload(tmp_path / f"w.{ending}", name, limit=2).num_requests == 2


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("damage", ["empty", "no rows", "another format", "truncated"])
def test_broken_files_are_one_line(tmp_path, name, damage):
    ending, lines = SAME[name]
    other = SAME["vidur" if ending == "jsonl" or name == "csv" else "csv"][1]
    text = {
        "empty": "",
        "no rows": lines[0] + "\n" if ending == "csv" else "\n\n",
        "another format": "\n".join(other),
        "truncated": "\n".join(lines)[: -len(lines[-1]) // 2],
    }[damage]
    path = tmp_path / f"w.{ending}"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_workload(path, name)
    message = str(caught.value)
    assert message.startswith(str(path)) and message.isprintable() and len(message) < 500
    assert "expected" in message


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("csv", "-1,100,20", "arrives at -1 s, expected 0 to"),
        ("csv", "5,1000000000,20", "line 2: prompt_tokens is \"1000000000\", expected a whole"),
        ("csv", "5,100,0", "output_tokens is \"0\""),
        ("csv", "5,100,2.5", "output_tokens is \"2.5\""),
        ("csv", "nan,100,20", "arrival_s is \"nan\", expected a number"),
        ("csv", "5,100", "2 cells, expected 3"),
        ("csv", "1e12,100,20", "unit of time"),
        ("azure", "1700000000,100,20", "expected a date with time"),
        ("azure", "2023-11-16,100,20", "expected a date with time"),
        ("vidur", "1,0,20", "num_prefill_tokens"),
        ("mooncake", '{"timestamp": "27482", "input_length": 1, "output_length": 1}', "timestamp is"),
        ("mooncake", '{"timestamp": 5, "output_length": 1}', "input_length is missing"),
        ("mooncake", lengths(1, hash_ids=[1.5]), "hash_ids is a list with 1.5"),
        ("aiperf", '{"delay": 5, "input_length": 1, "output_length": 1}', "has no time of arrival"),
        ("aiperf", '{"input_length": 1, "output_length": 1}', "timestamp is missing"),
        ("bailian", lengths(1), "chat_id is missing"),
    ],
)  # fmt: skip
def test_wrong_rows_are_named(tmp_path, name, line, expected):
    ending, lines = SAME[name]
    path = write(tmp_path, f"w.{ending}", [lines[0], line] if ending == "csv" else [line])
    with pytest.raises(InputError) as caught:
        read_workload(path, name)
    assert expected in str(caught.value), str(caught.value)


@pytest.mark.parametrize("name", ["csv", "mooncake", "azure"])
def test_time_that_goes_back_is_refused(tmp_path, name):
    ending, lines = SAME[name]
    path = write(tmp_path, f"w.{ending}", [*lines[:1], lines[-1], *lines[1:-1]])
    with pytest.raises(InputError, match=r"line \d: arrives .* s before the request in front of it; sort"):
        read_workload(path, name)


def test_the_unit_is_the_formats_or_the_users(tmp_path):
    path = write(tmp_path, "w.jsonl", SAME["mooncake"][1])
    assert read_workload(path, "mooncake", time_unit="s").arrival_s[-1] == 4000
    assert read_workload(path, "guidellm").arrival_s[-1] == 4000
    with pytest.raises(InputError, match="time unit min is unknown"):
        read_workload(path, "mooncake", time_unit="min")
    with pytest.raises(InputError, match="unknown workload format excel; known: csv, azure"):
        read_workload(path, "excel")


def test_sessions_follow_their_turn_before(tmp_path):
    rows = [
        {"session_id": "a", "timestamp": 0, "input_length": 10, "output_length": 5},
        {"session_id": "a", "delay": 250, "input_length": 20, "output_length": 5},
        {"timestamp": 100, "input_length": 30, "output_length": 5},
    ]
    found = read_workload(write(tmp_path, "w.jsonl", [json.dumps(row) for row in rows]), "aiperf")
    assert found.session_ids == ("a", "a", "request 2")
    assert found.arrival_s[[0, 2]].tolist() == [0, 0.1] and np.isnan(found.arrival_s[1])
    assert found.delay_s is not None and found.delay_s[1] == 0.25 and np.isnan(found.delay_s[0])
    bailian = read_workload(write(tmp_path, "b.jsonl", SAME["bailian"][1]), "bailian")
    assert bailian.session_ids == ("1", "1", "1") and bailian.tasks == ("text", "text", "search")


def test_prefixes_in_cache_are_whole_blocks_seen_before():
    ids = [[1, 2, 3], [1, 2, 9], [4], [1, 2, 3], [5, 2]]
    prompts = np.array([48, 40, 10, 48, 32])
    # the fourth is held whole, but its last token is computed: two blocks of 16 remain
    assert cached_prefix_tokens(ids, 16, prompts).tolist() == [0, 32, 0, 32, 0]


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_guidellm_files_of_every_kind(tmp_path, ending):
    rows = [json.loads(line) for line in SAME["guidellm"][1]]
    path = tmp_path / f"w.{ending}"
    if ending == "csv":
        write(tmp_path, path.name, [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)])
    elif ending == "json":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    assert read_workload(path, "guidellm").arrival_s.tolist() == [0, 1.5, 4]
    path.write_bytes(b"{}" if ending == "json" else b"PAR1" if ending == "parquet" else b"a\n1\n")
    with pytest.raises(InputError, match="expected"):
        read_workload(path, "guidellm")


def test_a_workload_checks_itself():
    one = np.array([1])
    with pytest.raises(InputError, match="arrives at 0 s, before the request in front"):
        RequestWorkload(np.array([1.0, 0.0]), np.array([1, 1]), np.array([1, 1]))
    with pytest.raises(InputError, match="num_output_tokens is 0, expected 1"):
        RequestWorkload(np.zeros(1), one, np.array([0]))
    with pytest.raises(InputError, match="tasks holds 2 values for 1 requests"):
        RequestWorkload(np.zeros(1), one, one, tasks=("a", "b"))
    with pytest.raises(InputError, match="0 requests"):
        RequestWorkload(np.zeros(0), np.zeros(0, int), np.zeros(0, int))
    with pytest.raises(InputError, match="has no arrival time"):
        RequestWorkload(np.array([np.nan]), one, one)


def test_the_public_case():
    found = read_workload(shared("cases", "records", "mooncake.jsonl"), "mooncake")
    assert (found.num_prompt_tokens.tolist(), found.num_output_tokens.tolist()) == ([6955], [52])
    assert found.source["first_time_s"] == pytest.approx(27.482) and found.block_size == 512


def test_a_record_that_users_have():
    """Milliseconds, as Mooncake counts; another format's reader says what it expected."""
    path = shared("cases", "records", "mooncake.jsonl")
    found = read_workload(path, "mooncake")
    assert (found.num_prompt_tokens[0], found.num_output_tokens[0], found.block_size) == (6955, 52, 512)
    assert found.hash_ids == ((46, 47),) and found.source["first_time_s"] == pytest.approx(27.482)
    for name in ("csv", "azure", "burstgpt", "bailian", "vidur"):
        with pytest.raises(InputError, match=r"mooncake\.jsonl, line 1: .*(expected|is missing)"):
            read_workload(path, name)


@pytest.mark.parametrize("name", ["guidellm", "bailian", "vidur", "burstgpt"])
def test_milliseconds_read_as_seconds_are_refused(tmp_path, name):
    """A day of traffic in milliseconds is 86 million seconds: more than a year, so the unit is wrong."""
    ending, lines = SAME[name]
    day_ms = "86400000"
    late = {
        "guidellm": lengths(int(day_ms)),
        "bailian": lengths(int(day_ms), chat_id=9, parent_chat_id=-1),
        "vidur": f"{day_ms},100,20",
        "burstgpt": f"{day_ms},ChatGPT,100,20,120,API log",
    }[name]
    path = write(tmp_path, f"w.{ending}", [*lines, late])
    with pytest.raises(InputError, match="is the format, and with it the unit of time, the right one"):
        read_workload(path, name)
