"""The command: files beside the words, exit codes, one line where nothing fits."""

import json
from pathlib import Path

import pytest
from support.command_line import svsim_run
from support.serving_runs import small_trace

from svsim.trace.file import save_trace

LINEAR = {
    "kind": "linear",
    "target": {"fixed_s": 0.01, "per_new_token_s": 2e-4, "per_kv_token_s": 1e-7},
    "draft": {"fixed_s": 0.001, "per_new_token_s": 2e-5, "per_kv_token_s": 1e-8},
    "overhead_per_step_s": 0.001,
    "draft_is_one_pass": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("plan")
    (made / "latency.json").write_text(json.dumps(LINEAR))
    save_trace(small_trace(), made / "T.parquet")
    return made


def asked(folder: Path, *more: object) -> list[object]:
    return [
        *("plan", folder / "T.parquet", "--latency", folder / "latency.json", "--max-num-seqs", "16"),
        *("--method", "td", "--jobs", "2", *more),
    ]


def test_words_files_and_the_fleet(folder: Path) -> None:
    slo = ("--slo", "ttft:p90=0.2", "--slo", "tpot:p90=0.03", "--demand", "30")
    files = [folder / name for name in ("plan.json", "plan.csv", "serve.sh", "plan.html")]
    out = ("--json", files[0], "--csv", files[1], "--emit", "vllm", files[2], "--report", files[3])
    done = svsim_run(*asked(folder, *slo, *out))
    assert done.stdout.startswith("Best for 30 requests/s: ")
    document = json.loads(files[0].read_text())
    assert {"plans", "pareto", "best"} <= document.keys()
    best = document["best"]
    assert best["verdict"] == "best" and best["fleet"]["replicas"] == best["replicas"]
    assert document["plans"][0]["label"] == "td" and len(document["pareto"]) > 4
    assert files[1].read_text().splitlines()[1].startswith("td,")
    script = files[2].read_text()
    assert "--max-num-seqs 16" in script and "--max-num-batched-tokens" in script
    page = files[3].read_text()
    assert "Which method, how many GPUs" in page and "Pareto front" in page


def test_only_json_on_stdout(folder: Path) -> None:
    hours = folder / "hours.csv"
    hours.write_text("hour,rate\n0,10\n1,60\n2,0\n")
    slo = ("--slo", "good=0.9", "--slo", "ttft:p50=0.3", "--slo", "tpot:p50=0.03")
    done = svsim_run(*asked(folder, *slo, "--demand", hours, "--json", "-"))
    best = json.loads(done.stdout)["best"]
    assert [hour["rate"] for hour in best["hours"]] == [10.0, 60.0, 0.0]
    assert best["hours"][1]["replicas"] == best["replicas"] >= best["hours"][0]["replicas"] >= 1


def test_nothing_fits_is_exit_3_with_the_closest(folder: Path) -> None:
    done = svsim_run(*asked(folder, "--slo", "tpot:p90=0.001"), code=3)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert "closest is td on latency" in done.stderr and "tpot:p90=0.001 is missed by" in done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "--slo is missing"),
        (("--slo", "ttft:p90=0.2", "--demand", "0"), "--demand 0"),
        (("--slo", "ttft:p90=0.2", "--demand", "nofile.csv"), "nofile.csv"),
        (("--slo", "ttft:p90=0.2", "--max-num-seqs", "a"), "--max-num-seqs a"),
        (("--slo", "ttft:p90=0.2", "--arrivals", "closed:users=2"), "steady law"),
        (("--slo", "ttft:p90=0.2", "--emit", "triton", "f.sh"), "--emit"),
    ],
)
def test_bad_questions_are_one_line_and_exit_2(folder: Path, more: tuple[str, ...], said: str) -> None:
    done = svsim_run(*asked(folder, *more), code=2)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1 and said in done.stderr
