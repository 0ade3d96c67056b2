"""The method texts of the command line: round trips, and one-line errors that name the remedy."""

import pytest

from svsim.decoding.method import Losslessness
from svsim.decoding.presets import PRESETS, Option, parse_method
from svsim.errors import MethodError
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.trace.accept_histogram import HISTOGRAM
from svsim.trace.token_trace import TraceMetadata

TEXTS = [
    "tree:m=63",
    "tree:m=12,depth=4",
    "medusa:m=63",
    "sequoia:m=64",
    "eagle2:m=59",
    "eagle3:m=20,depth=3,beam=6",
    "stree",
    "longspec",
    "longspec:shape=4/8",
    "td",
    "sd:k=1",
    "sd:k=5",
    "sv:k=7",
    "pearl",
    "pearl:gamma=6",
    "pearl:gamma=6,sync_s=0.0001",
    "sv:k=3,objective=accepted",
    "sv:k=7,stop=first-drop",
    "sv:k=7,objective=accepted,stop=first-drop,min_verify=1",
    "sv:k=2,min_verify=2",
    "sv-lossless:k=7,unseen=similarity",
    "sv-lossless:k=4,unseen=histogram",
    "oracle:k=8",
    "oracle:k=7,draft=exact",
    "oracle-belief:k=7",
    "sv:k=7,overlap=half,draft_slowdown=2.5,verify_slowdown=1.0",
    "sv-lossless:k=7,unseen=similarity,overlap=full",
    "smartspec:k=6,every=10,caution=1.0",
    "svip:k=8,h=0.4",
    "adaedl:k=8,aim=0.7",
    "disco:k=8",
    "dyspec:k=8,threshold=0.3",
    "tetris:k=6,extra=2",
    "staged:k=5",
    "eagle:k=2,head_share=0.03",
    "dspark:k=7,signal=similarity,search=global",
    "vllm-adaptive:k=7,lag=2",
    "vllm-ladder:ladder=16-5/64-3",
    "kangaroo:k=6,eta=0.4,exit=3",
    "kangaroo:k=5,exit=0.06",
    "magicdec:k=4,budget=257,drafter=draft",
    "easyspec:k=5,n=3,attention_share=0.4,exchange_s=0.0001,acceptance_loss=0.07",
    "sd:k=5,head_rows=32768",
    "eagle:k=3,head_rows=1000",
    "del:d_max=6,forget=0.8,cost=price,exit=8",
    "del:d=3",
    "judge:k=25",
    "judge:k=7,share=column",
    "judge:k=7,share=0.5",
    "reflect:k=5,prompt=4",
    "diffuspec:k_max=50,passes=2,kv_reuse=yes",
    "ead:w=4,dwell=12,tau=0.5,catch_up=ideal,start=small",
    "joint:k=8,midstop=no,ask_us=50.0",
]
LOSSY = {"judge", "reflect", "ead"}


@pytest.mark.parametrize("text", TEXTS)
def test_a_label_reads_back_as_itself(text):
    method = parse_method(text)
    assert method.label == text
    assert parse_method(method.label).label == text
    others = {"vllm-ladder": 5, "diffuspec": 50, "pearl": 1, "del": method.params.get("d_max", 8)}
    shape = str(method.params.get("shape", "4/16/16/16/16"))
    others |= {"stree": 12, "longspec": sum(map(int, shape.split("/")))}
    others["tree"] = others["medusa"] = others["sequoia"] = method.params.get("m")
    others["eagle2"] = others["eagle3"] = method.params.get("m")
    assert method.num_speculative_tokens == method.params.get("k", others.get(method.name, 0))


def test_every_preset_is_read_back_above():
    assert {text.partition(":")[0] for text in TEXTS} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_name_alone_takes_the_defaults_and_says_whether_it_is_lossless(name):
    method = parse_method(name, num_speculative_tokens=6)
    assert method.name == name
    assert method.why_lossless and PRESETS[name].summary and PRESETS[name].source
    assert method.uses_companion == (name in ("sv", "sv-lossless", "staged"))
    assert method.is_bound == name.startswith("oracle")
    assert parse_method(f" {name} ", 6).label == method.label
    assert parse_method(f"{name}:", 6).label == method.label


def test_defaults_that_the_trace_decides():
    assert parse_method("oracle", 3).num_speculative_tokens == 3
    assert parse_method("oracle:k=2", 3).num_speculative_tokens == 2
    assert parse_method("sv-lossless").params["unseen"] == "similarity"
    assert parse_method("sv-lossless", 7, HISTOGRAM[:-1]).params["unseen"] == "similarity"
    assert parse_method("sv-lossless", 7, ("similarity", *HISTOGRAM)).params["unseen"] == "histogram"
    asked = parse_method("sv-lossless:unseen=similarity", 7, HISTOGRAM)
    assert asked.label == "sv-lossless:k=7,unseen=similarity"
    assert set(HISTOGRAM) <= set(parse_method("sv-lossless:unseen=histogram").belief.signals)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("unknown method ''", "td")),
        ("TD", ("unknown method", "td")),
        ("svv:k=7", ("did you mean sv?", "oracle")),
        ("sv-losless", ("did you mean sv-lossless?",)),
        ("lookahead", ("known: td, sd, sv",)),
        ("td:k=1", ("unknown option 'k=1'", "takes none")),
        ("sd:q=3", ("unknown option 'q=3'", "k=...")),
        ("sd:3", ("unknown option '3'", "k=...")),
        ("sd:=3", ("unknown option '=3'",)),
        ("sd:k", ("k has no value", "k=...")),
        ("sv:draft_slowdown=2", ("without overlap",)),
        ("vllm-ladder:ladder=0-3", ("ladder=0-3", "from 1 on")),
        ("sd: k=3", ("unknown option ' k=3'",)),
        ("sd:k=", ("k= is not a whole number from 1 to 255",)),
        ("sd:k=nan", ("k=nan is not a whole number from 1 to 255",)),
        ("sd:k=inf", ("is not a whole number from 1 to 255",)),
        ("sd:k=2.5", ("is not a whole number from 1 to 255",)),
        ("sd:k=1e2", ("is not a whole number from 1 to 255",)),
        ("sd:k=0", ("k=0", "from 1 to 255")),
        ("sd:k=-1", ("k=-1", "from 1 to 255")),
        (f"sd:k={MAX_SPECULATIVE_TOKENS + 1}", ("k=256", "from 1 to 255")),
        (f"sd:k={'9' * 5000}", ("from 1 to 255",)),
        ("sd:k=3,k=3", ("k is given twice",)),
        ("sv:k=3,objective=tokens", ("objective=tokens", "emitted, accepted")),
        ("sv:k=3,stop=", ("stop=", "argmax, first-drop")),
        ("sv:k=3,min_verify=4", ("min_verify=4 exceeds k=3",)),
        ("sv:k=3,min_verify=-1", ("min_verify=-1",)),
        ("sv-lossless:unseen=guess", ("unseen=guess", "histogram, similarity")),
        ("sv-lossless:stop=argmax", ("unknown option 'stop=argmax'", "k=..., unseen=...")),
        ("oracle:draft=some", ("draft=some", "all, exact")),
    ],
)
def test_bad_texts_are_one_line_with_the_remedy(text, words):
    with pytest.raises(MethodError) as caught:
        parse_method(text)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    for word in words:
        assert word in message


@pytest.mark.parametrize("control", ["\n", "\x1b[31m", "\u202e"])
def test_control_characters_never_reach_the_terminal(control):
    for text in (f"s{control}d", f"sd:k={control}3", f"sd:{control}=1", f"sv:objective={control}x"):
        with pytest.raises(MethodError) as caught:
            parse_method(text)
        assert control not in str(caught.value)


def test_lossless_on_a_trace():
    """Looking at a token does no harm where the prefix decides it; looking at the coins does."""
    greedy, sampled, deterministic_draft = (
        TraceMetadata(4, "synthetic", "coherent", sampling=sampling)
        for sampling in ({"greedy": True}, {"greedy": False}, {"greedy": False, "deterministic_draft": True})
    )
    methods = {name: parse_method(name) for name in PRESETS}
    assert {n for n, m in methods.items() if not m.is_lossless_on(greedy)} == LOSSY
    assert {n for n, m in methods.items() if not m.is_lossless_on(deterministic_draft)} == {"oracle"} | LOSSY
    assert not methods["sv"].is_lossless_on(sampled) and methods["sv-lossless"].is_lossless_on(sampled)


def test_exact_on_a_trace():
    sampled = TraceMetadata(4, "synthetic", "coherent", sampling={"greedy": False})
    exact = {name for name in PRESETS if parse_method(name, 4).is_exact_on(sampled)}
    assert (
        exact
        == set(PRESETS)
        - {
            "sv",
            "tetris",
            "staged",
            "oracle",
            "oracle-belief",
            "eagle",
            "vllm-adaptive",
            "kangaroo",
            "magicdec",
            "easyspec",
            "diffuspec",
            "del",
            "eagle2",
            "eagle3",
            "longspec",
        }
        - LOSSY
    )
    assert parse_method("vllm-adaptive:k=2,lag=2").is_exact_on(sampled)
    independent = TraceMetadata(4, "synthetic", "independent", sampling={"greedy": False})
    assert not parse_method("sd:k=4").is_exact_on(independent)


def test_labels_of_losslessness():
    looking = {name for name in PRESETS if parse_method(name).lossless is Losslessness.GREEDY_ONLY}
    assert looking == {"sv", "tetris", "staged", "oracle", "oracle-belief", "diffuspec"}
    assert {name for name in PRESETS if parse_method(name).lossless is Losslessness.LOSSY} == LOSSY
    lossless = {name for name in PRESETS if parse_method(name).lossless is Losslessness.LOSSLESS}
    assert lossless == set(PRESETS) - looking - LOSSY


def test_whole_numbers_are_read_like_a_person_writes_them():
    option = Option(3, at_least=1)
    assert option.parse("sd", "k", "7") == option.parse("sd", "k", "+7") == option.parse("sd", "k", "07") == 7
    for text in ("1_0", "\u0663", "0x3", " 3"):
        with pytest.raises(MethodError):
            option.parse("sd", "k", text)
