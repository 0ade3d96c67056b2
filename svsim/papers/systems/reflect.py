"""Reflective verification: the drafts are read twice; what the longer pass costs by batch size."""

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

NEAR = Within(relative=0.05)
BATCHES = (1, 2, 8, 32, 128)


def longer_verification(batch: int, num_draft_tokens: int, extra_tokens: int) -> float:
    """A pass of 1 + 2k + extra tokens a sequence over one of 1 + k, by the roofline."""
    import numpy as np

    from svsim.latency.geometry import model_geometry
    from svsim.latency.roofline import RooflineLatency
    from svsim.latency.shape import Role, StepShape

    priced = facts("reflect")["priced_on"]
    model = model_geometry(priced["model"])
    roofline = RooflineLatency.of(priced["hardware"], priced["tensor_parallel"], model)
    tokens = batch * np.array([1.0 + num_draft_tokens, 1.0 + 2 * num_draft_tokens + extra_tokens])
    shape = StepShape(Role.TARGET, batch, tokens, batch * priced["context"])
    ordinary, longer = roofline.predict_s(shape)
    return float(longer / ordinary)


def evidence(sheet: Sheet) -> None:
    """No number of the mechanism is published: what it must cost, by batch size."""
    paper = facts("reflect")
    drafts = paper["num_draft_tokens"]
    extra = paper["prompt_tokens"] + paper["suffix_tokens"]
    for end, gain in paper["extra_speed"].items():
        sheet.leave_open(
            f"abstract, {end}", "extra decoding speed", gain, "lengths, fusion and hardware not found"
        )
    priced = paper["priced_on"]
    found = {batch: longer_verification(batch, drafts, extra) for batch in BATCHES}
    for batch, ratio in found.items():
        sheet.predict(
            f"{priced['model']} on {priced['hardware']} tp = {priced['tensor_parallel']}, batch {batch}",
            "verification over an ordinary one",
            ratio,
            f"{1 + 2 * drafts + extra} tokens a sequence for {1 + drafts}; lengths are ours: no verdict",
        )
    sheet.say(
        f"Verification takes {found[1]:.2f}, {found[2]:.2f} and {found[BATCHES[-1]]:.1f} times an ordinary "
        f"one at batch 1, 2 and {BATCHES[-1]}: nearly free where reading weights takes the time, else dear."
    )


def ask(sheet: Sheet, values: Values) -> None:
    """The longer pass of a batch."""
    batch, drafts = int(values["batch"]), int(values["k"])
    extra = int(values["prompt"]) + int(values["suffix"])
    setting = f"batch {batch}, {drafts} drafts, {extra} tokens more"
    ratio = longer_verification(batch, drafts, extra)
    sheet.predict(setting, "verification over an ordinary one", ratio, "roofline", within=NEAR)


SYSTEM = System(
    "reflect",
    "Reflective verification (lossy)",
    "arXiv 2505.18629, abstract",
    "a verification of 1 + 2k + prompt + suffix tokens, priced by batch size",
    evidence,
    (
        Parameter("batch", "sequences at once", 1, 1024, is_integer=True),
        Parameter("k", "draft tokens of a round", 1, 64, default=5, is_integer=True),
        Parameter("prompt", "tokens of the reflective prompt", 0, 256, default=16, is_integer=True),
        Parameter("suffix", "tokens of the repeated prefix", 0, 256, default=8, is_integer=True),
    ),
    ask,
)
