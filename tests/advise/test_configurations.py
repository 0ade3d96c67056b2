"""Configurations keep the rules that each engine checks when it starts, and say what they rest on."""

import json
import re
import shlex
from itertools import pairwise

import pytest
from support.command_line import svsim_run

import svsim
from svsim.advice.configurations import ENGINES, Serving, llamacpp, sglang, trtllm, vllm
from svsim.advice.ladder import Rung, ladder_of, words
from svsim.errors import InputError

FALLING = (Rung(1, 5, 6), Rung(6, 45, 3), Rung(46, 64, 0))
RATES = (0.7, 0.5, 0.4, 0.3, 0.2, 0.1)


def serving(ladder=FALLING, drafter="eagle3", rates=RATES, **more):
    told = {
        "target": "meta/Llama 70B", "tensor_parallel": 4, "drafter": drafter, "draft_model": "head",
        "draft_shards": 1, "ladder": ladder, "rates": rates, "verdict": ("speculate",), **more,
    }  # fmt: skip
    return Serving(**told)


def commands(text):
    """What a shell would run: the words of the last command, without comments."""
    return shlex.split(text, comments=True)


def test_vllm_takes_the_ladder_as_ranges_that_begin_at_1_and_do_not_overlap():
    config = vllm(serving()).settings
    assert config["method"] == "eagle3" and config["model"] == "head"
    ranges = config["num_speculative_tokens_per_batch_size"]
    assert ranges == [[1, 5, 6], [6, 45, 3], [46, 64, 0]]
    assert config["num_speculative_tokens"] == max(k for *_, k in ranges)


def test_vllm_text_can_be_pasted_and_holds_the_same_settings():
    run = commands(vllm(serving()).text)
    assert run[:3] == ["vllm", "serve", "meta/Llama 70B"]
    assert json.loads(run[run.index("--speculative-config") + 1]) == vllm(serving()).settings


def test_the_assumption_is_a_comment_and_never_served():
    config = vllm(serving())
    assert "synthetic" not in json.dumps(config.settings) + " ".join(commands(config.text))
    tried = commands("\n".join(re.findall(r"^# ((?:vllm|  --).*)", config.text, re.M)))
    told = json.loads(tried[tried.index("--speculative-config") + 1])
    assert told["rejection_sample_method"] == "synthetic"
    assert told["synthetic_acceptance_rates"] == list(RATES)
    assert len(RATES) == told["num_speculative_tokens"]


def test_vllm_draft_models_are_placed_as_they_were_priced():
    assert vllm(serving(drafter="model", draft_shards=4)).settings["draft_tensor_parallel_size"] == 4
    assert "draft_tensor_parallel_size" not in vllm(serving()).settings


def test_sglang_takes_the_ladder_as_candidates_by_batch_size():
    config = sglang(serving())
    assert (
        config.settings["speculative-num-draft-tokens"] == config.settings["speculative-num-steps"] + 1 == 7
    )
    steps = {size: c["candidate_steps"] for size, c in config.settings["speculative-adaptive-config"].items()}
    assert steps == {"1": [6], "6": [3], "46": [0]}
    assert "SGLANG_SIMULATE_ACC_LEN=3.2 " in config.text  # 1 + the sum of the rates


def test_sglang_without_a_ladder_takes_the_length_of_the_largest_load_that_gains():
    config = sglang(serving(drafter="dflash"))
    assert config.settings["speculative-num-steps"] == 3
    assert "speculative-adaptive" not in config.settings


def test_trtllm_schedule_begins_with_the_longest_and_ends_where_speculation_does():
    config = trtllm(serving()).settings["speculative_config"]
    assert config["draft_len_schedule"] == {"1": 6, "5": 6, "45": 3}
    assert config["max_draft_len"] == 6
    rising = (Rung(1, 5, 2), Rung(6, 45, 4), Rung(46, 64, 1))
    config = trtllm(serving(rising, rates=RATES[:4])).settings["speculative_config"]
    assert config["max_draft_len"] == 2 == max(config["draft_len_schedule"].values())


def test_trtllm_forced_counts_leave_the_bonus_out():
    assert "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=2.2 " in trtllm(serving()).text


def test_llamacpp_takes_one_length():
    run = commands(llamacpp(serving()).text)
    assert run[run.index("--spec-type") + 1] == "draft-eagle3"
    assert run[run.index("--spec-draft-n-max") + 1] == "3"


@pytest.mark.parametrize("engine", ENGINES)
def test_where_nothing_pays_nothing_speculates(engine):
    config = ENGINES[engine](serving((Rung(1, 64, 0),), rates=()))
    assert config.settings == {}
    assert not [word for word in commands(config.text) if "spec" in word]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_drafter_that_an_engine_lacks_is_refused(engine):
    with pytest.raises(InputError, match=f"{engine}: it has no setting for drafter peagle"):
        ENGINES[engine](serving(drafter="peagle"))


def test_a_name_out_of_a_file_cannot_leave_its_comment():
    assert "\nrm" not in vllm(serving(verdict=("speculate\nrm -rf /",))).text
    assert commands(vllm(serving(target="x; rm -rf /")).text)[2] == "x; rm -rf /"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear.json").write_text(
        '{"kind": "linear", "target": {"fixed_s": 1e-3, "per_new_token_s": 3e-5, "per_kv_token_s": 0},'
        '"draft": {"fixed_s": 1e-4, "per_new_token_s": 0, "per_kv_token_s": 0}, "overhead_per_step_s": 0,'
        '"draft_is_one_pass": false}'
    )
    return tmp_path


ASKED = {
    "accept_by_position": ".72/.51/.36", "prompt_tokens": 100, "output_tokens": 200, "drafter": "eagle3",
    "latency": "linear.json", "prefill": "exclude",
}  # fmt: skip


def test_the_ladder_follows_the_advice(here):
    """Verification that costs with every token: short drafts in large batches, at last none."""
    found = svsim.advise(concurrency=256, **ASKED)
    ladder = ladder_of(found.ladder)
    assert ladder[0].start == 1 and ladder[-1].end == 256
    assert all(after.start == before.end + 1 for before, after in pairwise(ladder))
    lengths = [rung.k for rung in ladder]
    assert lengths == sorted(lengths, reverse=True) and lengths[-1] == 0
    for one in found.ladder:
        (rung,) = (rung for rung in ladder if rung.start <= one.batch_size <= rung.end)
        assert rung.k == one.num_draft_tokens
    assert words((Rung(1, 1, 4), Rung(2, 9, 0))) == "1: 4, 2-9: none"


def test_emit_writes_what_the_document_holds(here):
    svsim_run("advise", "--accept-by-position", ".72/.51/.36", "--prompt-tokens", 100, "--output-tokens", 200,
              "--drafter", "eagle3", "--latency", "linear.json", "--concurrency", 64, "--json", "out.json",
              "--emit", "vllm", "spec.json", "--emit", "sglang", "serve.sh")  # fmt: skip
    document = json.loads((here / "out.json").read_text())
    assert json.loads((here / "spec.json").read_text()) == document["config"]["configurations"]["vllm"]
    assert (here / "serve.sh").read_text().count("sglang.launch_server") == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--emit", "vllm", "linear.json"), "--emit linear.json would destroy"),
        (("--emit", "vllm", "a.sh", "--emit", "sglang", "a.sh"), "names the same file"),
        (("--emit", "vllm", "a.sh", "--json", "a.sh"), "names the same file"),
        (("--emit", "vlm", "a.sh"), "--emit vlm is unknown; choose one of vllm, sglang, trtllm, llamacpp"),
        (("--emit", "vllm", "no/such/a.sh"), "cannot be written"),
    ],
)
def test_emit_destroys_nothing(here, words, expected):
    before = (here / "linear.json").read_bytes()
    asked = ("--accept-by-position", ".7/.5", "--drafter", "eagle3", "--latency", "linear.json")
    done = svsim_run("advise", *asked, "--concurrency", 2, *words, code=2)
    assert expected in done.stderr and done.stderr.count("\n") == 1
    assert (here / "linear.json").read_bytes() == before
    assert not (here / "a.sh").exists()


LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024,
    "intermediate_size": 4096, "num_hidden_layers": 8, "num_attention_heads": 16,
    "num_key_value_heads": 8, "vocab_size": 32000,
}  # fmt: skip


def test_a_model_given_by_its_config_is_served_from_its_folder(here):
    (here / "my-model").mkdir()
    (here / "my-model" / "config.json").write_text(json.dumps(LLAMA))
    found = svsim.advise(concurrency=2, target="my-model/config.json", **ASKED)
    assert commands(found.configuration("vllm").text)[2] == "my-model"
    assert found.configuration("vllm").settings["model"] == "EAGLE3_MODEL"  # whose path nobody said
    assert "Put the path of your eagle3" in found.configuration("vllm").text
