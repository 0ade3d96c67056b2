"""Models on different hardware: what a step costs, what fits where, what is paid for, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.command_line import svsim_json, svsim_refuses
from support.small_traces import LINEAR, independent_trace

import svsim
from svsim.decoding.drafters import drafter_named
from svsim.decoding.presets import parse_method
from svsim.deployments import PricesAsked, known_geometries
from svsim.engines.binding import Deployment
from svsim.errors import InputError
from svsim.feasibility import groups_of
from svsim.latency.elsewhere import Elsewhere
from svsim.latency.linear import LinearLatency
from svsim.latency.placed import PlacedLatency
from svsim.latency.shape import Role, StepShape
from svsim.open_loop.options import ServeOptions
from svsim.open_loop.understand import understand
from svsim.options import RunOptions
from svsim.planning.candidates import Candidate
from svsim.run import open_source
from svsim.serving.memory import kv_blocks
from svsim.serving.settings import SchedulerSettings
from svsim.trace.file import save_trace

MODELS = {
    "target": {"name": "meta-llama/Llama-3.1-70B-Instruct"},
    "draft": {"name": "meta-llama/Llama-3.2-1B-Instruct"},
    "companion": {"name": "meta-llama/Llama-3.2-3B-Instruct"},
}
DRAFT_S = 3e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("placed")
    made = independent_trace(60, 7, seed=3, prompt_tokens=(1000, 3000))
    save_trace(replace(made, metadata=replace(made.metadata, models=MODELS)), folder / "T.parquet")
    (folder / "here.json").write_text(json.dumps(LINEAR))
    only = {"fixed_s": DRAFT_S, "per_new_token_s": 0.0, "per_kv_token_s": 0.0}
    (folder / "there.json").write_text(json.dumps({**LINEAR, "draft": only, "companion": only}))
    return folder


def replayed(folder, *words, command="replay"):
    return svsim_json(command, folder / "T.parquet", *words)


@pytest.mark.parametrize("command", ["replay", "analytic"])
@pytest.mark.parametrize("batch", [1, 8])
def test_times_add_each_from_its_own_device(folder, command, batch):
    words = ["--latency", folder / "here.json", "--batch", batch, "--method", "td", "--method", "sd:k=4"]
    words += ["--method", "sv:k=5"]
    there = ["--draft-hardware", folder / "there.json", "--companion-hardware", folder / "there.json"]
    here = {r["method"]: r for r in replayed(folder, *words, command=command)["rows"]}
    apart = {
        r["method"]: r for r in replayed(folder, *words, *there, "--link-s", 2e-3, command=command)["rows"]
    }
    assert apart["td"]["goodput_tok_s"] == here["td"]["goodput_tok_s"]  # nothing of it is elsewhere
    assert apart["td"]["overhead_time_s"] == pytest.approx(1e-3)
    sd = apart["sd"]
    assert sd["draft_time_s"] == pytest.approx(4 * DRAFT_S)
    assert sd["verify_time_s"] == pytest.approx(here["sd"]["verify_time_s"])
    assert sd["overhead_time_s"] == pytest.approx(1e-3 + 2e-3)
    assert apart["sv"]["draft_time_s"] == pytest.approx(5 * DRAFT_S)
    assert apart["sv"]["companion_time_s"] == pytest.approx(DRAFT_S)
    assert apart["sv"]["overhead_time_s"] == pytest.approx(1e-3 + 2e-3)  # once a step
    assert {r["hardware_options"] for r in apart.values()} == {
        "draft_hardware=there,companion_hardware=there"
    }


def test_the_analytic_model_says_the_same(folder):
    words = ["--latency", "roofline", "--hardware", "h100_sxm:tp=4", "--draft-hardware", "l40s"]
    words += ["--batch", "1,8", "--method", "sd:k=4", "--link-s", 1e-4]
    both = [replayed(folder, *words, command=command)["rows"] for command in ("replay", "analytic")]
    for mine, other in zip(*both, strict=True):
        assert other["goodput_tok_s"] == pytest.approx(mine["goodput_tok_s"], rel=0.02)


def test_each_group_holds_its_own_models(folder):
    """Draft and companion take 8.9 GB of GPUs that the target nearly fills."""
    words = ["--latency", "roofline", "--hardware", "h100_sxm:tp=2", "--batch", "1", "--method", "sv:k=3"]
    words += ["--method", "td"]
    here = {r["method"]: r["fits_memory"] for r in replayed(folder, *words)["rows"]}
    apart = ["--draft-hardware", "l40s", "--companion-hardware", "l40s"]
    there = {r["method"]: r["fits_memory"] for r in replayed(folder, *words, *apart)["rows"]}
    assert (here, there) == ({"td": True, "sv": False}, {"td": True, "sv": True})
    large = ["--draft", "llama-3.1-70b", "--draft-hardware", "l40s:tp=2"]
    result = replayed(folder, *words, "--method", "sd:k=3", *large)
    fits = {r["method"]: r["fits_memory"] for r in result["rows"]}
    assert fits["td"] and not fits["sd"]
    assert any("sd:k=3: no batch fits in memory" in note for note in result["notes"])


def test_a_server_s_cache_is_that_of_its_tightest_group(folder):
    source = open_source(folder / "T.parquet")
    settings, method = SchedulerSettings(max_num_seqs=64), parse_method("sd:k=3")

    def blocks(elsewhere):
        priced = PricesAsked("roofline", None, ("h200_sxm:tp=4",), elsewhere).priced(source)[0]
        deployment = Deployment(priced.latency, spec=priced.spec)
        return kv_blocks(known_geometries(source.metadata), deployment, method, settings, 0.9, 4000)

    beside, roomy, tight = map(blocks, (Elsewhere(), Elsewhere("h200_sxm"), Elsewhere("rtx4090")))
    assert roomy > beside > tight  # 24 GB hold far fewer contexts of the draft


def test_dollars_count_the_groups_that_a_method_uses(folder):
    words = ["--latency", "roofline", "--hardware", "h100_sxm:tp=4", "--batch", "1"]
    words += ["--method", "td", "--method", "sd:k=3"]
    words += ["--prices", folder / "prices.json"]
    price = {"h100_sxm": [2.0, "x"], "l40s": [1.0, "x"]}
    listed = {"usd_per_gpu_hour": price, "sources": {"x": {"title": "x"}}}
    (folder / "prices.json").write_text(json.dumps(listed))
    for apart, dollars in (([], 8.0), (["--draft-hardware", "l40s:tp=2"], 10.0)):
        rows = {r["method"]: r for r in replayed(folder, *words, *apart)["rows"]}
        for method, per_hour in (("td", 8.0), ("sd", dollars)):
            row = rows[method]
            paid = row["usd_per_million_tokens"] * row["goodput_tok_s"] * 3600 / 1e6
            assert paid == pytest.approx(per_hour), (apart, method)


def test_a_head_stays_beside_the_target(folder):
    words = ["--latency", "roofline", "--hardware", "h100_sxm:tp=4", "--batch", "1", "--method", "sd:k=3"]
    words += ["--drafter", "eagle3"]
    apart = ["--draft-hardware", "l40s", "--link-s", 0.01]
    here, there = (replayed(folder, *words, *more) for more in ([], apart))
    assert here["rows"][0]["step_time_s"] == there["rows"][0]["step_time_s"]
    assert any(note.startswith("draft_hardware has no effect") for note in there["notes"])


def test_a_head_has_its_own_price_not_the_draft_model_s():
    base, other = (LinearLatency.from_json(LINEAR, name) for name in ("here", "there"))
    placed = Deployment(PlacedLatency(base, {Role.DRAFT: other}, 0.5))
    eagle = parse_method("sd:k=3").with_drafter(drafter_named("eagle"))
    assert len(groups_of(placed, eagle)) == 1
    assert placed.priced(eagle).host.per_step_s == base.overhead_per_step_s
    assert len(groups_of(placed, parse_method("sd:k=3"))) == 2


def test_a_table_prices_a_draft_by_its_own_rows_on_that_hardware():
    source = open_source("traces/llama70b.parquet")
    placed = PricesAsked(elsewhere=Elsewhere("h200_sxm")).priced(source)[0].latency
    other = PricesAsked(hardware=("h200_sxm:tp=4",)).priced(source)[0].latency
    first = PricesAsked().priced(source)[0].latency
    for role, same in ((Role.DRAFT, other), (Role.TARGET, first)):
        shape = StepShape(role, 8, 8, np.array([800, 8000]))
        np.testing.assert_array_equal(placed.predict_s(shape), same.predict_s(shape))
    assert (placed.hardware, placed.tensor_parallel) == ("h100_sxm", 4)
    assert placed.options == "draft_hardware=h200_sxm:tp=1"


def test_python_takes_the_same_words(folder):
    result = svsim.replay(
        folder / "T.parquet",
        methods="sd:k=3",
        batch_sizes=4,
        latency=LinearLatency.from_json(LINEAR, "cpu"),
        draft_hardware="l40s",
        link_s=1e-3,
    )
    assert result.rows[0].deployment == "cpu:draft_hardware=l40s:tp=1"
    assert result.rows[0].latency_source == "linear+roofline"
    assert result.config["draft_hardware"] == "l40s" and result.config["link_s"] == 1e-3
    assert "draft_hardware='l40s', link_s=0.001" in result.question.command


@pytest.mark.parametrize("ratios", [(0.0, 0.05, 0.2, 1.0)])
def test_a_slow_target_verifies_fewer_tokens_the_dearer_each_is(folder, ratios):
    """A CPU as target, a pass a + b per token, and a draft on a GPU: the best length falls with b / a."""
    best = []
    for ratio in ratios:
        target = {"fixed_s": 0.4, "per_new_token_s": 0.4 * ratio, "per_kv_token_s": 0.0}
        cpu = folder / "cpu.json"
        cpu.write_text(json.dumps({"kind": "linear", "target": target, "overhead_per_step_s": 0.0}))
        words = ["--latency", cpu, "--draft-hardware", "l40s", "--batch", "1", "--method", "sd:k=1-7"]
        rows = replayed(folder, *words)["rows"]
        best.append(max(rows, key=lambda row: row["goodput_tok_s"])["params"]["k"])
    assert best == sorted(best, reverse=True)
    assert best[0] >= 6 and best[-1] == 1 and len(set(best)) > 2


def test_open_loop_serving_pays_the_link(folder):
    words = ["serve-sim", folder / "T.parquet", "--arrivals", "constant:rate=0.2", "--duration", "200"]
    words += ["--warm-up", "0", "--replications", "1", "--latency", folder / "here.json"]
    words += ["--method", "sd:k=4", "--draft-hardware", folder / "there.json"]
    near, far = (svsim_json(*words, "--link-s", link_s)["rows"][0] for link_s in (0.0, 0.01))
    steps = 1.0 / near["mean_acceptance_length"]
    more_s = far["tpot_s_mean"] - near["tpot_s_mean"]
    assert more_s == pytest.approx(0.01 * steps, rel=0.05)  # the first token is not of a decoding step


def test_advice_is_about_the_placed_models(folder):
    words = ["advise", folder / "T.parquet", "--concurrency", "4", "--latency", "roofline"]
    words += ["--hardware", "h100_sxm:tp=4", "--method", "sd:k=3", "--draft-hardware", "l40s"]
    result = svsim_json(*words)
    assert {row["hardware_options"] for row in result["rows"]} == {"draft_hardware=l40s:tp=1"}
    assert "no engine has a setting" in svsim_refuses(*words, "--emit", "vllm", folder / "vllm.json")


def test_a_plan_counts_the_gpus_of_all_groups(folder):
    def gpus(elsewhere):
        run = RunOptions(
            methods=["td", "sd:k=3", "pearl:gamma=3"],
            latency="roofline",
            hardware=("h100_sxm:tp=4",),
            elsewhere=elsewhere,
        )
        found = understand(folder / "T.parquet", ServeOptions(run, arrivals="poisson:rate=1", duration=60))
        return [Candidate(cell, found).num_gpus for cell in found.cells]

    assert gpus(Elsewhere()) == [4, 4, 5]
    assert gpus(Elsewhere("l40s:tp=2")) == [4, 6, 6]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--link-s", "0.1"], "--link-s has no effect: every model runs beside the target"),
        (["--link-s", "11", "--draft-hardware", "l40s"], "--link-s 11.0 is out of range"),
        (["--draft-hardware", "l40s:draft=sharded"], "give NAME:tp=N alone"),
        (["--draft-hardware", "no_such_gpu"], "no_such_gpu"),
        (["--draft-hardware", "nope.json"], "nope.json: no such file"),
        (["--draft-hardware", "target.json"], "has no step times of the draft"),
        (["--companion-hardware", "l40s:tp=5"], "tp=5"),
        (["--draft-hardware", "gpu.json"], "gpu.json: "),
    ],
)
def test_refusals(folder, words, says, monkeypatch):
    monkeypatch.chdir(folder)
    alone = {"kind": "linear", "target": LINEAR["target"], "overhead_per_step_s": 0}
    (folder / "target.json").write_text(json.dumps(alone))
    (folder / "gpu.json").write_text(json.dumps({"memory_bytes": 1}))
    run = ["replay", "T.parquet", "--latency", "roofline", "--hardware", "h100_sxm:tp=4", "--batch", "1"]
    assert says in svsim_refuses(*run, *words)


def test_a_draft_of_unknown_shape_is_asked_for(folder):
    save_trace(independent_trace(40, 3), folder / "bare.parquet")
    with pytest.raises(InputError, match=r"`draft_hardware` needs the draft's shape.*give `draft`"):
        svsim.replay(
            folder / "bare.parquet",
            methods="sd:k=2",
            latency=folder / "here.json",
            draft_hardware="l40s",
        )
