"""The page: complete in itself, escaped, small, the same bytes for the same input."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs
from support.command_line import svsim_process, svsim_refuses, svsim_run
from support.result_tables import HOSTILE, METHODS, crowded, hostile, information, one_machine, two_machines
from support.small_traces import independent_trace

from svsim.errors import InputError
from svsim.report.page import MAX_ROWS, render, write_report
from svsim.report.recommendation import recommend
from svsim.trace.file import save_trace

MAX_BYTES = 5_000_000
COMMAND = "svsim replay 'my trace.parquet' --report out.html"


class Page(HTMLParser):
    """Tags with attributes, and the text outside script and style."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside != "style":
            self.words.append(data)

    def handle_endtag(self, tag):
        self.inside = ""

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(table, **extra):
    return Page(render(table, command=COMMAND, **extra))


def test_it_tells_the_answer_the_methods_the_hardware_and_the_command():
    table = two_machines()
    page = page_of(table)
    for sentence in recommend(table):
        assert sentence in page.text
    for expected in (*METHODS, "first", "second", COMMAND, "a note", "synthetic acceptance"):
        assert expected in page.text
    rows = [tag for tag, attrs in page.tags if tag == "tbody" and attrs.get("class") == "group"]
    assert len(rows) == 2 * 3  # hardware x batch sizes, every row in one of them
    assert f"{table.rows[3].goodput_tok_s:,.1f}" in page.text


def test_every_method_at_every_batch_size_with_its_share_of_the_gain():
    table = crowded()
    text = page_of(table).text.partition("Every method at every batch size")[2].partition("Goodput")[0]
    for row in table.rows:
        share = f"{row.oracle_gain_share:.0%}"
        assert f"{row.speedup_vs_td:.2f}x {share}" in text
    tags = page_of(table).tags
    best = [attrs for tag, attrs in tags if tag == "td" and attrs.get("class") == "best"]
    assert len(best) == 3  # a batch size each; never the bound
    strengths = [attrs["style"] for tag, attrs in tags if tag == "td" and "style" in attrs]
    assert len(strengths) == len(table.rows)
    assert strengths[0] == "--strength:0%" and strengths.count("--strength:55%") == 3  # td; the bound
    bare = replace(
        table, rows=tuple(replace(r, oracle_gain_share=None, oracle_bound=None) for r in table.rows)
    )
    assert "bound's gain" not in page_of(bare).text.partition("Where the time")[0]


def test_it_loads_nothing():
    document = render(two_machines(), command=COMMAND, information=information(), analytic=two_machines())
    page = Page(document)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "form")
        assert "src" not in attributes and "srcset" not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:text/csv;base64,"))
    style = document[document.index("<style>") : document.index("</style>")]
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ") and "http" not in policy


def test_it_holds_plotly_and_every_figure():
    page = page_of(two_machines())
    document, packed, _ = page.scripts
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    figures = json.loads(document)["figures"]
    places = [a for t, a in page.tags if a.get("class") == "plot"]
    assert [a["id"] for a in places] == [f"plot-{i + 1}" for i in range(len(figures))]
    assert len(figures) == 2 * 6  # per hardware: goodput, two speedups, share, time, draft tokens
    assert json.loads(figures[0])["data"]


def test_it_saves_the_rows_unrounded():
    table = one_machine()
    link = next(a["href"] for t, a in page_of(table).tags if t == "a" and a.get("download"))
    assert base64.b64decode(link.partition(",")[2]).decode() == table.to_csv()


def test_hostile_names_stay_text_and_short():
    clean = page_of(one_machine(), information=information())
    page = page_of(hostile(), information=information(HOSTILE))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in clean.tags}
    assert len(page.scripts) == 3
    assert "<script>parent.hacked=1</script>" in page.text
    assert not re.search(r"[\x00-\x08\x0e-\x1f\x7f\u202e]", page.text)
    assert "A" * 2000 not in page.text
    assert "2920 more entries" not in page.text and "more entries" in page.text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_templates_in_names_are_not_filled():
    page = page_of(replace(one_machine(), notes=("{{js}} {{plotly}}",)))
    assert "{{js}} {{plotly}}" in page.text


def test_a_long_command_is_cut_and_stays_on_the_page():
    page = Page(render(one_machine(), command="svsim " + "x" * 50_000))
    assert "x" * 5_000 in page.text and "x" * 11_000 not in page.text


@pytest.mark.parametrize("num_rows", [30, MAX_ROWS, 4 * MAX_ROWS])
def test_it_stays_small_and_says_what_it_leaves_out(num_rows):
    table = two_machines()
    many = [
        replace(r, batch_size=b)
        for b in range(1, num_rows // 10 + 1)
        for r in table.rows
        if r.batch_size == 4
    ]
    document = render(replace(table, rows=tuple(many)), command=COMMAND)
    assert len(document.encode()) <= MAX_BYTES
    assert ("batch sizes; --json and --csv hold all rows" in document) is (num_rows > MAX_ROWS)


def test_same_input_same_bytes():
    assert render(two_machines(), command=COMMAND) == render(two_machines(), command=COMMAND)


def test_sections_that_have_no_data_are_absent():
    bare = page_of(one_machine()).text
    assert "What the signals are worth" not in bare and "Analytic model against replay" not in bare


def test_information_is_shown_with_its_ceiling():
    text = page_of(one_machine(), information=information()).text
    for expected in (
        "0.193 bits", "95 % interval 0.187 to 0.200", "0.412 bits", "47%", "0.206 bits, 50% of the ceiling",
        "learnt on 512 requests, judged on 600", "0.73", "0.012 (by chance 0.010)", "10x10", "0.320",
    ):  # fmt: skip
        assert expected in text
    assert "None" not in text
    bare = {**information(), "beliefs": [], "paper": [], "overlap_correlation": None}
    assert "What the signals are worth" in page_of(one_machine(), information=bare).text


def test_analytic_differences_above_two_percent_warn():
    table = one_machine()

    def scaled(factor):
        rows = [replace(r, goodput_tok_s=factor * r.goodput_tok_s) for r in table.rows if r.method == "sv"]
        return replace(table, rows=tuple(rows))

    assert "Warning" not in page_of(table, analytic=scaled(1.019)).text
    text = page_of(table, analytic=scaled(0.979)).text
    assert "3 of 3 rows differ by more than 2%" in text and "-2.10%" in text


def test_undefined_numbers_are_dashes():
    table = one_machine()
    rows = tuple(
        replace(r, goodput_tok_s=None, goodput_ci_low=None, step_time_s=None, fits_memory=False)
        for r in table.rows
    )
    assert "None" not in page_of(replace(table, rows=rows)).text


def test_one_method_at_one_batch_size_is_a_page_too():
    page_of(replace(one_machine(), rows=one_machine().rows[:1]))
    with pytest.raises(InputError, match="holds no rows"):
        render(replace(one_machine(), rows=()), command=COMMAND)


def test_it_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out.html"
    write_report(one_machine(), target, command=COMMAND)
    assert target.read_text(encoding="utf-8") == render(one_machine(), command=COMMAND)
    for bad in (tmp_path, tmp_path / "absent" / "out.html"):
        with pytest.raises(InputError, match="cannot be written") as error:
            write_report(one_machine(), bad, command=COMMAND)
        assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["out.html"]


@pytest.fixture(scope="module")
def replay_args(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    save_trace(independent_trace(280, 8, seed=1), folder / "trace.parquet")
    part = {"fixed_s": 0.01, "per_new_token_s": 2e-5, "per_kv_token_s": 1e-8}
    linear = {"kind": "linear", "target": part, "draft": part, "companion": part,
              "overhead_per_step_s": 0.001, "draft_is_one_pass": False}  # fmt: skip
    (folder / "linear.json").write_text(json.dumps(linear))
    return ["replay", folder / "trace.parquet", "--latency", folder / "linear.json", "--batch", "1,8"]


def test_replay_writes_the_page_with_its_command(replay_args, tmp_path):
    pages = []
    target = tmp_path / "out.html"
    for hash_seed in ("1", "2"):
        seeded = {**os.environ, "PYTHONHASHSEED": hash_seed}
        svsim_process(*replay_args, "--report", target, env=seeded)
        pages.append(target.read_bytes())
    assert pages[0] == pages[1]
    text = Page(pages[0].decode()).text
    assert f"svsim replay {replay_args[1]}" in text and f"--report {target}" in text


def test_replay_without_report_leaves_plotly_alone(replay_args):
    code = (
        "import sys, atexit; atexit.register(lambda: print('plotly' in sys.modules)); "
        "from svsim.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, replay_args)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_bad_places_are_refused_before_the_work(replay_args, tmp_path):
    assert "out.html cannot be written" in svsim_refuses(
        *replay_args, "--report", tmp_path / "absent" / "out.html"
    )
    assert "this output goes to a file" in svsim_refuses(*replay_args, "--report", "-")
    assert "--report" in svsim_run("replay", "--help").stdout
