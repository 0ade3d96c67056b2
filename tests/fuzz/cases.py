"""What is damaged and who reads it: one entry per kind of input."""

import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz.mutations import Random, damaged_bytes, damaged_json, damaged_text, damaged_value, pick
from support.recordings import RECORDINGS, Recording
from support.trace_examples import METADATA, example_columns, make_step_times, make_trace, write_raw

from svsim.catalogue import hardware_entries, model_entries
from svsim.decoding.ranges import parse_methods
from svsim.importing.formats import import_acceptance
from svsim.importing.record import ImportOptions
from svsim.latency.draft_heads import draft_head
from svsim.latency.hardware_spec import HardwareSpec
from svsim.latency.linear import LinearLatency
from svsim.latency.measured import MeasuredLatency
from svsim.latency.prices import hourly_prices
from svsim.latency.shape import Role, StepShape
from svsim.options import coins_of
from svsim.synthetic.options import read_settings, settings_of, with_options
from svsim.trace.file import TraceReader, load_trace, save_trace
from svsim.validation.bench import read_bench
from svsim.workload.files import read_workload

PASS = {"fixed_s": 0.01, "per_new_token_s": 1e-4, "per_kv_token_s": 1e-7}
LINEAR = {
    "kind": "linear",
    "target": PASS,
    "draft": PASS,
    "overhead_per_step_s": 0.001,
    "draft_is_one_pass": True,
}
PRICES = {"usd_per_gpu_hour": {"h100_sxm": [2.5, "here"]},
          "sources": {"here": {"title": "t", "date": "2026-01-01", "url": "u"}}}  # fmt: skip
SHEET = {"bf16_flop_per_s": 1e15, "fp8_flop_per_s": 2e15, "int8_op_per_s": 2e15, "memory_bytes": 8e10,
         "memory_bytes_per_s": 3e12, "interconnect_bytes_per_s": 4e11, "power_w": 700}  # fmt: skip
CONFIG = {
    **{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "head_dim": 16},
    **{"intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2},
    **{"vocab_size": 1000, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "sliding_window": None},
}
MIXTURE = CONFIG | {
    **{"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 8},
    **{"num_experts_per_tok": 2, "moe_intermediate_size": 32, "mamba_ssm_dtype": "float32"},
    **{"layer_types": ["full_attention", "full_attention"], "rope_scaling": {"type": "yarn"}},
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
HEAD = CONFIG | {"architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1, "draft_vocab_size": 500,
                 "target_hidden_size": 64, "eagle_aux_hidden_state_layer_ids": [1, 2]}  # fmt: skip
SETTINGS = {"num_requests": 8, "num_speculative_tokens": 3, "greedy": False, "burstiness": 0.2,
            "tasks": [{"name": "chat", "acceptance": 0.7, "share": 2,
                       "output_tokens": {"mean": 20, "variation": 0.5}, "prompt_tokens": 30}]}  # fmt: skip
BENCH = 'method,batch,tok_s\nsd:k=3,8,412.5\ntd,8,300\n"sv:k=7,stop=first-drop",4,100\n'
WORKLOADS = {
    "csv": "arrival_s,prompt_tokens,output_tokens,task\n0.0,100,20,chat\n0.5,50,30,code\n1.5,7,9,chat\n",
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
    "2023-11-16 18:15:50.9951690,396,109\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,x\n",
    "mooncake": '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n',
}
WORDS = {
    "method": (
        "sv:k=7,objective=accepted,stop=first-drop",
        "sd:k=1-5",
        "svip:h=0.3",
        "vllm-ladder:ladder=8-3/16-1",
    ),
    "hardware": ("h100_sxm:tp=4,draft=replicated,quant=fp8", "h200_sxm"),
    "coins": ("redraw:20", "recorded"),
    "synth": ("chat:acceptance=0.65,share=2,output_tokens=300:0.6", "0.8/0.7/0.6", "200:0.5"),
}
Reader = Callable[[Path], Any]


def _linear(path: Path) -> None:
    model = LinearLatency.from_file(path)
    for role in model.roles:
        assert (model.predict_s(StepShape(role, 4, [4, 20], 1000)) >= 0).all()


def _table(path: Path) -> None:
    model = MeasuredLatency.from_file(path, out_of_range="extrapolate")
    assert np.isfinite(model.predict_s(StepShape(Role.TARGET, 4, [4, 20], 1000))).all()


def _recording(recording: Recording) -> Reader:
    is_dense = recording.format_name == "specdecode-bench"  # its requests are recorded
    options = ImportOptions(num_requests=None if is_dense else 4, **recording.options)
    return lambda path: import_acceptance(recording.format_name, (str(path),), options)


# kind -> (its valid document, reader); a document that is no text is damaged as JSON
FILES: Mapping[str, tuple[Any, Reader]] = {
    "linear": (LINEAR, _linear),
    "prices": (PRICES, hourly_prices),
    "data sheet": (SHEET, lambda path: hardware_entries((str(path),))),
    "config": (CONFIG, lambda path: json.dumps(model_entries(path), allow_nan=False)),
    "mixture config": (MIXTURE, lambda path: json.dumps(model_entries(path), allow_nan=False)),
    "head config": (HEAD, lambda path: draft_head(None, None, path)),
    "synth settings": (SETTINGS, lambda path: settings_of(read_settings(path))),
    "measured results": (BENCH, lambda path: read_bench(path, 7, ("similarity", "companion_accept"))),
    **{f"workload {n}": (t, lambda path, n=n: read_workload(path, n)) for n, t in WORKLOADS.items()},
    **{
        f"recording {name}": (next(iter(recording.files.values())), _recording(recording))
        for name, recording in RECORDINGS.items()
        if len(recording.files) == 1
    },
}


def file_name(kind: str) -> str:
    """A name with the ending that readers go by."""
    recording = RECORDINGS.get(kind.removeprefix("recording "))
    if recording is not None:
        return next(iter(recording.files))
    return "f.csv" if isinstance(FILES.get(kind, ({},))[0], str) else "f.json"


def read_damaged_file(kind: str, rng: Random, path: Path) -> None:
    """Damage the kind's document and read it."""
    document, read = FILES[kind]
    if isinstance(document, str):
        is_text = rng.random() < 0.5
        data = damaged_text(document, rng).encode(errors="replace")
        data = data if is_text else damaged_bytes(document.encode(), rng)
    else:
        data = damaged_json(document, rng)
    path.write_bytes(data)
    read(path)


def read_damaged_table(rng: Random, path: Path) -> None:
    """A step-time table: as Parquet with values, types or columns that are wrong, or with bytes that are."""
    columns = {name: list(values.tolist()) * 8 for name, values in make_step_times().items()}
    columns["num_new_tokens"] = [n + i // 3 for i, n in enumerate(columns["num_new_tokens"])]
    name = pick(rng, list(columns))
    kind = int(rng.integers(4))
    if kind == 0:
        del columns[name]
    elif kind == 1:
        columns[name] = [pick(rng, (0, -1, 1, 2**40, 10**17)) for _ in columns[name]]
    elif kind == 2:
        columns[name][int(rng.integers(len(columns[name])))] = pick(
            rng, (None, float("nan"), 1e-300, -1.0, 1e300, "x")
        )
    buffer = io.BytesIO()
    with suppress(pa.ArrowException, OverflowError, TypeError):  # no table at all: the file stays empty
        pq.write_table(pa.table({n: pa.array(v) for n, v in columns.items()}), buffer)
    data = buffer.getvalue()
    path.write_bytes(damaged_bytes(data, rng) if kind == 3 else data)
    _table(path)


def read_damaged_words(kind: str, rng: Random) -> None:
    """Damage the words of an option and understand them."""
    text = damaged_text(pick(rng, WORDS[kind]), rng)
    if kind == "method":
        parse_methods([text], 7, ("similarity", "companion_accept", "draft_entropy", "draft_prob"))
    elif kind == "hardware":
        HardwareSpec.parse(text)
    elif kind == "coins":
        coins_of(text, 0)
    else:
        name = pick(rng, ("acceptance", "output_tokens", "prompt_tokens"))
        tasks = (text,) if rng.random() < 0.5 else ()
        settings_of(with_options({}, tasks, {} if tasks else {name: text}))


def sound_traces(folder: Path) -> list[tuple[bytes, Any]]:
    """Small traces as bytes, and as they are read."""
    found = []
    signals = ("draft_prob", "draft_entropy", "similarity", "companion_accept", "accept_prob")
    traces = (
        make_trace([5, 9, 4, 12], 2, step_times=make_step_times()),
        make_trace([40] * 6, 7, signals, tasks=False, step_times=make_step_times()),
        make_trace([1], 1, ()),
    )
    for number, trace in enumerate(traces):
        path = folder / f"sound{number}"
        save_trace(trace, path, rows_per_group=16)
        found.append((path.read_bytes(), load_trace(path)))
    return found


def read_trace(path: Path) -> Any:
    """All of a trace: streamed, whole, and its provenance as JSON."""
    reader = TraceReader(path)
    for chunk in reader.iter_chunks(min_positions=8):
        assert chunk.num_positions > 0
    trace = load_trace(path)
    json.dumps(asdict(trace.metadata), allow_nan=False)
    return trace


def write_wrong_trace(rng: Random, path: Path) -> None:
    """A Parquet file of pyarrow's own, with metadata, step times or columns that no trace has."""
    metadata: Any = {
        **METADATA,
        "models": {"target": {"name": "T", "geometry": CONFIG}},
        "software": {"a": "1"},
        "sampling": {"greedy": False},
        **{"seed": 1, "dataset": "d", "extra": {"x": [1, 2.5]}},
    }
    columns, step_times = example_columns(), None
    kind = int(rng.integers(3))
    if kind == 0:
        metadata = damaged_json(metadata, rng)
    elif kind == 1:
        name = pick(rng, list(columns))
        values = columns[name].to_pylist()
        values[int(rng.integers(len(values)))] = pick(
            rng, (None, 0, -1, 2**40, 1.5, "x", [], [0.5] * 3, [2.0] * 3)
        )
        with suppress(pa.ArrowException, TypeError):
            columns[name] = pa.array(values)
    else:
        rows = {name: damaged_value(values.tolist(), rng) for name, values in make_step_times().items()}
        buffer = pa.BufferOutputStream()
        with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
            table = pa.table({name: pa.array(values) for name, values in rows.items()})
            with pa.ipc.new_stream(buffer, table.schema) as writer:
                writer.write_table(table)
        step_times = damaged_bytes(buffer.getvalue().to_pybytes(), rng) if rng.random() < 0.2 else None
        step_times = step_times or buffer.getvalue().to_pybytes()
    write_raw(path, columns, metadata, step_times)
