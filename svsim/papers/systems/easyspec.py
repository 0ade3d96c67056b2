"""EasySpec: attention layers of the draft run side by side; what its drafting speedup needs."""

from svsim.closed_forms import parallel_attention_pass
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

NEAR = Within(relative=0.05)


def needed_share(drafting_speedup: float, num_parallel: float) -> float:
    """The share of a draft pass that attention must take for this drafting speedup."""
    return (1.0 - 1.0 / drafting_speedup) / (1.0 - 1.0 / num_parallel)


def evidence(sheet: Sheet) -> None:
    """Three headline numbers: the share they need, and the share that weights alone would give."""
    paper = facts("easyspec")
    published, n = paper["drafting_speedup"], paper["num_parallel"]
    share, by_weights = needed_share(published, n), _share_by_weights()
    sheet.take("abstract", "drafting speedup, at most", published, "the one number that the law can use")
    sheet.predict(
        "Llama-3-8B as draft, 4 layers at a time",
        "attention's share of a pass, at least",
        share,
        f"{published}x drafting with {n} at a time; shares are not published, exchange not counted",
        within=NEAR,
    )
    sheet.predict(
        "Llama-3-8B as draft, 4 layers at a time",
        "drafting speedup if time were weights",
        1.0 / parallel_attention_pass(by_weights, n),
        f"attention holds {by_weights:.0%} of the weights that a pass reads",
    )
    sheet.leave_open("abstract", "speedup, at most", paper["peak_speedup"], "tree, lengths and tau not found")
    sheet.leave_open(
        "abstract", "loss of acceptance, at most", paper["largest_acceptance_loss"],
        "a property of the models: needs a trace of the fuzzy drafter",
    )  # fmt: skip
    sheet.say(
        f"{published}x needs attention to take {share:.0%} of a draft pass, where it holds {by_weights:.0%} "
        "of its weights: possible where passes are bound by launches and all-reduces, which is not published."
    )


def _share_by_weights() -> float:
    """Attention's weights over all that a pass of the draft reads."""
    from svsim.latency.geometry import model_geometry

    model = model_geometry(facts("easyspec")["draft"])
    head = model.vocabulary_size * model.hidden_size
    mlp = 3 * model.hidden_size * model.intermediate_size * model.num_layers
    read = model.num_parameters - head  # a pass looks up one row of the embedding
    return (read - head - mlp) / read


def ask(sheet: Sheet, values: Values) -> None:
    """Drafting speedup of a share."""
    share, n = float(values["attention_share"]), float(values["n"])
    shorter = parallel_attention_pass(share, n)
    setting = f"attention {share:.0%} of a pass, {n:g} layers at a time"
    why = "a pass keeps 1 - a (1 - 1/n) of its time; exchange of states and the exact pass not counted"
    sheet.predict(setting, "drafting speedup", 1.0 / shorter, why, within=NEAR)
    sheet.predict(setting, "draft pass, of before", shorter, why, within=NEAR)


SYSTEM = System(
    "easyspec",
    "EasySpec: draft layers side by side",
    "arXiv 2502.02493, NeurIPS 2025, abstract",
    "draft pass x (1 - a (1 - 1/n)), a = attention's share of it",
    evidence,
    (
        Parameter("attention_share", "share of a draft pass that attention takes", 0.0, 1.0),
        Parameter("n", "attention layers at a time", 1.0, 64.0, default=4.0),
    ),
    ask,
)
