"""``svsim advise`` on the command line: recordings in, the verdict first, JSON as promised, outputs safe."""

import json
import shlex

import pytest
from support.command_line import svsim_run

import svsim
from svsim.advice.decision import measuring_command

LINEAR = (
    '{"kind": "linear", "target": {"fixed_s": 1e-3, "per_new_token_s": 5e-6, "per_kv_token_s": 0},'
    '"draft": {"fixed_s": 1e-4, "per_new_token_s": 0, "per_kv_token_s": 0}, "overhead_per_step_s": 0,'
    '"draft_is_one_pass": false}'
)
SCRAPE = """
vllm:spec_decode_num_drafts_total{model_name="m"} 1000.0
vllm:spec_decode_num_draft_tokens_total{model_name="m"} 3000.0
vllm:spec_decode_num_accepted_tokens_total{model_name="m"} 1590.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name="m",position="0"} 720.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name="m",position="1"} 510.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name="m",position="2"} 360.0
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear.json").write_text(LINEAR)
    (tmp_path / "one.prom").write_text(SCRAPE)
    return tmp_path


RATES = ("--accept-by-position", ".72/.51/.36", "--prompt-tokens", 100, "--output-tokens", 200)
PRICED = ("--drafter", "eagle3", "--latency", "linear.json")


def test_counters_and_their_rates_get_the_same_advice(here):
    counters = ("one.prom", "--import", "vllm-metrics", "--prompt-tokens", 100, "--output-tokens", 200)
    told = [
        json.loads(svsim_run("advise", *words, *PRICED, "--concurrency", "1,8", "--json", "-").stdout)
        for words in (counters, RATES)
    ]
    chosen = [[(a["batch_size"], a["params"], a["verdict"]) for a in t["advice"]] for t in told]
    assert chosen[0] == chosen[1]
    rates = [t["config"]["acceptance"][0]["rates_at_step_starts"] for t in told]
    assert rates[0] == pytest.approx(rates[1])


def test_an_imported_trace_gets_the_advice_of_its_file(here):
    svsim_run("import", "vllm-metrics", "one.prom", "--prompt-tokens", 100, "--output-tokens", 200,
              "--drafter", "eagle3", "--out", "mine.parquet")  # fmt: skip
    shown = svsim_run("advise", "mine.parquet", "--latency", "linear.json", "--concurrency", 8, "--json", "-")
    document = json.loads(shown.stdout)
    assert document["advice"][0]["drafter"] == "eagle3"
    lengths = {row["params"]["k"] for row in document["rows"] if row["method"] == "sd"}
    assert lengths == {1, 2, 3, 4, 5, 6}  # longer drafts than were recorded are searched


def test_the_verdict_comes_first_and_the_header_says_what_is_counted(here):
    lines = svsim_run("advise", *RATES, *PRICED, "--concurrency", "1,8").stdout.splitlines()
    assert "1 to 8 at once: speculate with eagle3 sd:k=" in lines[0]
    caption = next(line for line in lines if "step times" in line)
    assert "prefill counted" in caption
    without = svsim_run("advise", *RATES, *PRICED, "--concurrency", 1, "--prefill", "exclude").stdout
    assert "prefill not counted" in without


def test_a_trace_of_every_position_has_nothing_to_assume(here):
    svsim_run("synth", "--acceptance", 0.8, "--num-requests", 64, "--out", "T.parquet")
    shown = svsim_run("advise", "T.parquet", "--latency", "linear.json", "--concurrency", 4, "--json", "-")
    document = json.loads(shown.stdout)
    (one,) = document["advice"]
    assert not one["is_assumed"] and one["verdict"] == "speculate"
    rows = [row for row in document["rows"] if row["batch_size"] == 4]
    assert one["speedup_vs_td"] >= max(row["speedup_vs_td"] for row in rows) / 1.02
    assert document["config"]["prefill"] == "exclude"  # these are no server's numbers


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("source", ["counters", "rates", "trace"])
def test_the_command_that_settles_it_runs(here, source, k):
    """Whatever the evidence, and whether the length was recorded or is longer."""
    lengths = {"prompt_tokens": 100, "output_tokens": 50}
    if source == "trace":
        svsim_run("import", "vllm-metrics", "one.prom", "--prompt-tokens", 100, "--output-tokens", 50,
                  "--out", "mine.parquet")  # fmt: skip
    evidence = {
        "counters": {"trace": ["one.prom"], "import_format": "vllm-metrics", **lengths},
        "rates": {"accept_by_position": ".72/.51/.36", **lengths},
        "trace": {"trace": "mine.parquet"},
    }[source]
    found = svsim.advise(
        **evidence, methods=f"sd:k={k}", concurrency=256, target="qwen3-0.6b", drafter="eagle3",
        hardware="h100_sxm", latency="roofline",
    )  # fmt: skip
    told = measuring_command(next(c for c in found.candidates if c.k == k))
    (here / "RESULTS.csv").write_text(f"method,batch,tok_s\ntd,256,9000\nsd:k={k},256,9100\n")
    for command in told.split(" && "):
        done = svsim_run(*shlex.split(command)[1:])
    assert f"sd:k={k}" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("advise",),
            "nothing says what is accepted; give a trace, --accept-by-position, --acceptance-length with --k",
        ),
        (("advise", "one.prom", "--import", "vllm-log", *PRICED), "SpecDecoding metrics"),
        (("advise", "one.prom", *PRICED), "one.prom"),
        (("advise", *RATES, *PRICED, "--concurrency", "8;9"), "--concurrency 8;9"),
        (("advise", *RATES, *PRICED, "--json", "linear.json"), "would destroy"),
        (("advise", "--accept-by-position", ".7", "--accept-by-position", ".6"), "DRAFTER=R1/R2"),
        (("advise", *RATES, *PRICED, "--shape", "even"), "--shape has no effect"),
        (("advise", *RATES, *PRICED, "--k", "3"), "--k has no effect"),
    ],
)
def test_bad_input_is_one_line(here, words, expected):
    done = svsim_run(*words, code=2)
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_recorded_requests_are_repeated_to_fill_a_batch(here):
    steps = '{"request_id": "a", "k": 3, "accepted": [2, 0, 3, 1, 3, 3], "prompt_tokens": 50}\n'
    (here / "steps.jsonl").write_text(steps)
    words = ("steps.jsonl", "--import", "accept-lengths", *PRICED, "--concurrency", 8, "--json", "-")
    document = json.loads(svsim_run("advise", *words).stdout)
    assert document["advice"][0]["batch_size"] == 8
    assert any("repeated" in note for note in document["config"]["notes"])


def test_more_at_once_than_a_trace_has_requests_is_said(here):
    svsim_run("synth", "--acceptance", 0.8, "--num-requests", 8, "--out", "T.parquet")
    done = svsim_run("advise", "T.parquet", "--latency", "linear.json", "--concurrency", 9, code=2)
    assert "--concurrency 9 exceeds the 8 requests of the trace" in done.stderr


def test_one_configuration_is_of_one_hardware(here):
    twice = ("--hardware", "h100_sxm", "--hardware", "h200_sxm", "--emit", "vllm", "a.sh")
    done = svsim_run("advise", *RATES, "--drafter", "eagle3", "--target", "qwen3-8b", *twice, code=2)
    assert "--emit is of one hardware" in done.stderr and not (here / "a.sh").exists()


def test_the_page_says_what_to_do_first(here):
    svsim_run("advise", *RATES, *PRICED, "--concurrency", "1,64", "--report", "out.html")
    page = (here / "out.html").read_text()
    advice, answer = page.index('id="advice"'), page.index('id="answer"')
    assert advice < answer and "speculate" in page[advice:answer] and "break-even" in page[advice:answer]
