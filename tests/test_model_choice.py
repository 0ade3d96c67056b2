"""Models that a caller names: over those of the trace, on every command that prices."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import svsim_json, svsim_refuses
from support.small_traces import independent_trace

import svsim
from svsim.errors import InfeasibleError, InputError, LatencyError, MethodError
from svsim.model_choice import ModelChoice, named_model
from svsim.trace.file import save_trace

CONFIG = {
    "_name_or_path": "somebody/small",
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}
NAMES = {
    "target": {"name": "meta-llama/Llama-3.1-70B-Instruct"},
    "draft": {"name": "meta-llama/Llama-3.2-1B-Instruct"},
    "companion": {"name": "meta-llama/Llama-3.2-3B-Instruct"},
}
NAMELESS = independent_trace(40, 4, seed=2)
NAMED = replace(NAMELESS, metadata=replace(NAMELESS.metadata, models=NAMES))
ON_L40S = {"latency": "roofline", "hardware": "l40s", "batch_sizes": [4], "methods": ["td", "sd:k=2"]}


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def speeds(trace, **models):
    table = svsim.replay(trace, **ON_L40S, **models)
    return {row.label: row.goodput_tok_s for row in table.rows}, table


def test_a_trace_without_names_works_once_models_are_named(config):
    with pytest.raises(LatencyError, match="does not name its target model"):
        speeds(NAMELESS)
    by_preset, table = speeds(NAMELESS, target="llama-3.1-8b", draft="llama-3.2-1b")
    assert by_preset["sd:k=2"] > by_preset["td"] > 0
    assert table.trace["models"]["target"] == {"name": "meta-llama/Llama-3.1-8B"}
    assert table.config["target"] == "llama-3.1-8b" and "companion" not in table.config
    by_folder, _ = speeds(NAMELESS, target="llama-3.1-8b", draft=config)
    by_file, _ = speeds(NAMELESS, target="llama-3.1-8b", draft=config / "config.json")
    assert by_folder == by_file == pytest.approx(by_preset)  # the config is that preset's shape


def test_named_models_stand_in_for_the_traces_and_it_is_said():
    small, table = speeds(NAMED, target="llama-3.1-8b")
    alone, _ = speeds(NAMELESS, target="llama-3.1-8b", draft="llama-3.2-1b")
    assert small == alone
    (note,) = [n for n in table.notes if "acceptance is as recorded" in n]
    assert "meta-llama/Llama-3.1-8B in the place of meta-llama/Llama-3.1-70B-Instruct" in note
    assert table.trace["models"]["companion"] == NAMES["companion"]
    same = svsim.replay(NAMED, **{**ON_L40S, "hardware": "h100_sxm:tp=4"}, target="llama-3.1-70b")
    assert not [n for n in same.notes if "acceptance is as recorded" in n]


def test_memory_is_that_of_the_named_models():
    with pytest.raises(InfeasibleError, match="fit"):
        speeds(NAMED)  # a 70B model on one L40S
    _, table = speeds(NAMED, target="llama-3.1-8b")
    assert all(row.fits_memory for row in table.rows)


def test_a_file_and_memory_give_the_same_rows(tmp_path, config):
    file = tmp_path / "trace.parquet"
    save_trace(NAMED, file)
    assert (
        speeds(file, target="llama-3.1-8b", draft=config)[0]
        == speeds(NAMED, target="llama-3.1-8b", draft=config)[0]
    )


def test_the_command_line_takes_the_same_words(tmp_path, config):
    file = tmp_path / "trace.parquet"
    save_trace(NAMELESS, file)
    models = ["--target", "llama-3.1-8b", "--draft", config, "--companion", config]
    priced = [*models, "--latency", "roofline", "--hardware", "l40s"]
    rows = svsim_json("replay", file, *priced, "--method", "sd:k=2", "--batch", "4")["rows"]
    assert rows[0]["goodput_tok_s"] == speeds(NAMELESS, target="llama-3.1-8b", draft=config)[0]["sd:k=2"]
    assert svsim_json("analytic", file, *priced, "--method", "td", "--batch", "4")["rows"]
    assert svsim_json("info", file, *priced)["slow_steps"]
    assert svsim_json("value", file, *priced, "--k", "2", "--batch", "4")["rows"]
    bench = tmp_path / "bench.csv"
    bench.write_text(f"method,batch,tok_s\ntd,4,100\nsd:k=2,4,{rows[0]['goodput_tok_s']!r}\n")
    found = svsim_json("validate", file, "--bench", bench, *priced)["prediction"]
    assert found["config"]["target"] == "llama-3.1-8b"


def test_measured_step_times_are_of_the_traces_own_models():
    llama = Path(__file__).parent.parent / "traces" / "llama70b.parquet"
    message = svsim_refuses("replay", llama, "--target", "llama-3.1-8b", "--batch", "4")
    assert (
        "--target meta-llama/Llama-3.1-8B: the trace's step times are those of meta-llama/Llama-3.1-70B"
        in message
    )
    assert "--latency database" in message
    assert svsim_json("replay", llama, "--target", "llama-3.1-70b", "--batch", "4", "--method", "td")["rows"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("llama-3.1-9b", "no preset for model llama-3.1-9b"),
        ("", "name is empty"),
        ("missing/config.json", "missing/config.json"),
    ],
)
def test_an_unknown_model_is_one_line(model, message):
    with pytest.raises(InputError, match=message):
        named_model(model)


def test_a_config_that_is_no_model_is_refused_before_the_run(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"hidden_size": 12}')
    with pytest.raises(LatencyError, match="missing"):
        speeds(NAMELESS, target=file)


def test_nothing_named_changes_nothing():
    assert ModelChoice().over(NAMES) == NAMES and ModelChoice().to_dict() == {}


EAGLE3 = {
    "architectures": ["LlamaForCausalLMEagle3"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 1,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "draft_vocab_size": 32000,
    "model_type": "llama",
}


@pytest.fixture
def head(tmp_path):
    folder = tmp_path / "my-head"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(EAGLE3))
    return folder


def drafted(trace=NAMELESS, **models):
    table = svsim.replay(trace, **ON_L40S, target="llama-3.1-8b", **models)
    return next(row for row in table.rows if row.method == "sd"), table


def test_the_drafter_decides_what_a_draft_costs(head):
    model = drafted(draft="llama-3.2-1b")[0].draft_time_s
    usual = drafted(drafter="eagle3")[0].draft_time_s
    mtp = drafted(drafter="mtp")[0].draft_time_s
    block = drafted(drafter="dflash")[0].draft_time_s
    assert drafted(drafter="ngram")[0].draft_time_s == 0 < usual < model
    assert len({model, usual, mtp, block}) == 4
    assert drafted(drafter="eagle3", head=head)[0].draft_time_s == pytest.approx(usual, rel=0.01)
    assert drafted(head=head)[0] == drafted(drafter="eagle3", head=head)[0]  # the file says what it is


def test_a_method_is_priced_with_what_it_needs_and_nothing_else():
    """A head or a look-up needs no draft model, and target-only decoding needs the target alone."""
    with pytest.raises(LatencyError, match="no step times for it"):
        drafted()
    row, table = drafted(drafter="ngram")
    assert row.goodput_tok_s > 0 and table.config["drafter"] == "ngram"
    td = next(row for row in table.rows if row.method == "td")
    alone = svsim.replay(NAMELESS, **{**ON_L40S, "methods": ["td"]}, target="llama-3.1-8b")
    assert td.goodput_tok_s == alone.rows[0].goodput_tok_s


def test_nothing_drafts():
    table = svsim.replay(NAMELESS, target="llama-3.1-8b", drafter="none", latency="roofline", hardware="l40s")
    assert {row.label for row in table.rows} == {"td"}
    with pytest.raises(MethodError, match="none"):
        drafted(drafter="none")


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"drafter": "eagle4"}, "unknown drafter 'eagle4'; choose one of model, eagle"),
        ({"drafter": "eagle3", "draft": "llama-3.2-1b"}, "leave `draft` out, or give the head's config"),
        ({"drafter": "ngram", "draft": "llama-3.2-1b"}, "`drafter=ngram` is no draft model"),
        ({"drafter": "ngram", "head": "HEAD"}, "drafter ngram has no head"),
        ({"drafter": "mtp", "head": "HEAD"}, "a head of kind eagle3, not mtp"),
        ({"head": "no/such/file.json"}, "no/such/file.json"),
    ],
)
def test_a_wrong_drafter_is_one_line(models, message, head):
    models = {name: head if given == "HEAD" else given for name, given in models.items()}
    with pytest.raises(InputError, match=message):
        drafted(**models)


def test_a_head_takes_memory():
    """The largest batch of a 70B model falls by what a head holds."""
    notes = {}
    for name, models in {"none": {"drafter": "ngram"}, "head": {"drafter": "eagle"}}.items():
        table = svsim.replay(
            independent_trace(120, 4, seed=1, prompt_tokens=(2000, 3000)),
            latency="roofline",
            hardware="a100_sxm:tp=2",
            batch_sizes=[1, 64],
            methods=["sd:k=2"],
            target="llama-3.1-70b",
            **models,
        )
        (notes[name],) = [n for n in table.notes if "sd:k=2: batches" in n]
    largest = {name: int(note.split("above ")[1].split()[0]) for name, note in notes.items()}
    assert 0 < largest["head"] < largest["none"]


def test_a_trace_keeps_what_drafted(head):
    """What ``synth`` and ``import`` store: replays draft so without being told again."""
    choice = ModelChoice(target="llama-3.1-8b", drafter="eagle3", head=head)
    made = replace(NAMELESS, metadata=replace(NAMELESS.metadata, models=choice.stored({})))
    kept = svsim.replay(made, **ON_L40S)
    told = svsim.replay(NAMELESS, **ON_L40S, target="llama-3.1-8b", drafter="eagle3", head=head)
    assert kept.rows == told.rows
    assert not [note for note in kept.notes if "what is accepted is" in note]  # it is the trace's own drafter
    assert [note for note in told.notes if "what is accepted is" in note]
    again = svsim.replay(made, **ON_L40S, drafter="ngram")
    assert next(row for row in again.rows if row.method == "sd").draft_time_s == 0


def test_info_and_value_draft_so_too(tmp_path):
    file = tmp_path / "trace.parquet"
    save_trace(NAMELESS, file)
    priced = ["--target", "llama-3.1-8b", "--latency", "roofline", "--hardware", "l40s"]
    slow = {
        drafter: svsim_json("info", file, *priced, "--drafter", drafter)["slow_steps"]
        for drafter in ("eagle3", "ngram")
    }
    assert slow["eagle3"] and slow["eagle3"] != slow["ngram"]
    found = svsim_json("value", file, *priced, "--drafter", "ngram", "--k", "2", "--batch", "4",
                       "--companion", "llama-3.2-3b")  # fmt: skip
    assert all(row["goodput_tok_s"] > 0 for row in found["rows"])


def test_synth_stores_models_and_drafter(tmp_path):
    file = tmp_path / "made.parquet"
    svsim_json("synth", "--acceptance", "0.7", "--num-requests", "40", "--out", file,
               "--target", "llama-3.1-8b", "--companion", "llama-3.2-3b", "--drafter", "eagle3")  # fmt: skip
    models = svsim.load_trace(file).metadata.models
    assert models["target"]["name"] == "meta-llama/Llama-3.1-8B" and models["draft"]["drafter"] == "eagle3"
    rows = svsim_json("replay", file, "--latency", "roofline", "--hardware", "h100_sxm", "--batch", "4")[
        "rows"
    ]
    assert {row["method"] for row in rows} == {"td", "sd", "sv"}
