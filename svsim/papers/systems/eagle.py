"""EAGLE-2 and EAGLE-3: what a round of a dynamic tree costs, from the weights of the draft head."""

from collections.abc import Callable
from functools import partial

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

A_ROUND = Within(relative=0.15)
MODELS = ("llama-2-7b", "llama-2-13b", "llama-3.1-8b", "llama-3.3-70b", "vicuna-33b")
EXCEPTED = ("eagle2", "Llama-3.1-8B")  # a head of 128k rows that the law charges in full


def round_cost(version: str, model_name: str, depth: int) -> float:
    """(depth + 1) passes of one layer and the draft's logits, and the verification, in target-only steps.

    Heads of EAGLE-3 have 32,000 rows where the target has more.
    """
    from svsim.latency.geometry import model_geometry

    paper, model = facts("eagle"), model_geometry(model_name)
    logits = model.vocabulary_size * model.hidden_size
    layer = (model.num_parameters - 2 * logits) / model.num_layers
    rows = min(model.vocabulary_size, paper["trimmed_vocabulary"])
    head = rows * model.hidden_size if version == "eagle3" else logits
    drafting = (depth + 1) * (layer + head) / model.num_parameters
    return float(drafting + paper["verification"])


def evidence(version: str, sheet: Sheet) -> None:
    """The authors' rows judged, the independent ones beside them."""
    paper = facts("eagle")[version]
    depth = paper["depth"]
    for row in paper["rows"]:
        cost, implied = round_cost(version, row["model"], depth), row["tau"] / row["speedup"]
        is_excepted = (version, row["label"]) == EXCEPTED
        why = f"{depth + 1} passes of a layer and the head by weights, verification 1.05"
        sheet.predict(
            f"{row['label']}, MT-bench, T = 0, the authors",
            "round, target-only steps",
            cost,
            f"{why}; the head is most of the draft here: no verdict" if is_excepted else why,
            published=implied,
            within=None if is_excepted else A_ROUND,
        )
    ratios = []
    for row in paper["again"]:
        implied, cost = row["tau"] / row["speedup"], round_cost(version, row["model"], depth)
        sheet.predict(
            f"{row['label']}, Spec-Bench, A100",
            "round, target-only steps",
            cost,
            "the same method in another harness, whose fixed times are not published: no verdict",
            published=implied,
        )
        ratios.append(implied / cost)
    sheet.say(
        "tau is an input: the law prices the round; published is tau over speedup. Independent runs of the "
        f"same method imply rounds up to {max(ratios):.2f} times the law's: who measured matters more than "
        "the model. Above batch 1 published runs use chains: those need measured passes."
    )


def ask(version: str, sheet: Sheet, values: Values) -> None:
    """Round and speedup of a model at a tau."""
    model, tau = str(values["model"]), float(values["tau"])
    depth = int(values["depth"])
    cost = round_cost(version, model, depth)
    setting = f"{model}, tau = {tau:g}, depth {depth}"
    why = f"{depth + 1} passes of a layer and the head by weights, verification 1.05"
    sheet.predict(setting, "round, target-only steps", cost, why, within=A_ROUND)
    sheet.predict(setting, "speedup", tau / cost, why, within=A_ROUND)


def _system(version: str, title: str, paper: str, depth: int) -> System:
    told: Callable[[Sheet], None] = partial(evidence, version)
    asked: Callable[[Sheet, Values], None] = partial(ask, version)
    return System(
        version,
        title,
        paper,
        "round = (depth + 1)(layer + head)/all weights + 1.05 target-only steps, against tau/speedup",
        told,
        (
            Parameter("model", "the target", words=MODELS),
            Parameter("tau", "tokens of a round, bonus included", 1.0, 64.0),
            Parameter("depth", "levels of the tree", 1, 64, default=depth, is_integer=True),
        ),
        asked,
        facts_name="eagle",
    )


EAGLE2 = _system("eagle2", "EAGLE-2: dynamic draft trees", "arXiv 2406.16858, table 1, by EAGLE-3's paper", 5)
EAGLE3 = _system("eagle3", "EAGLE-3: dynamic draft trees", "arXiv 2503.01840, table 1", 7)
