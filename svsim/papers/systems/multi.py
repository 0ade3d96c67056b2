"""Multi-draft decoding: what each rule accepts, and the best that any could, by linear programme."""

from collections.abc import Iterator, Mapping, Sequence

from svsim.multi_draft_laws import RULES, Law
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

EXACT = Within(absolute=1e-5)
BOUNDS = ("bound", "bound-wo")
Tuples = Mapping[tuple[int, ...], float]  # drafts in order -> their chance


def tuples_with(q: Law, n: int) -> Tuples:
    """n independent drafts."""
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(n):
        found = {(*head, x): chance * b for head, chance in found.items() for x, b in enumerate(q)}
    return found


def tuples_without(q: Law, n: int) -> Tuples:
    """n different drafts."""
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(n):
        found = {
            (*head, x): chance * b / (1.0 - sum(q[y] for y in head))
            for head, chance in found.items()
            for x, b in enumerate(q)
            if x not in head
        }
    return found


def best_by_programme(p: Law, drafts: Tuples) -> float:
    """The largest chance that the emitted token is a draft, over all couplings: a linear programme."""
    import numpy as np
    from scipy.optimize import linprog

    num_tokens, chances = len(p), np.array([*drafts.values()])
    gain = np.array([[float(x in drawn) for x in range(num_tokens)] for drawn in drafts])
    from_drafts = np.kron(np.eye(len(chances)), np.ones(num_tokens))
    to_tokens = np.kron(np.ones(len(chances)), np.eye(num_tokens))
    found = linprog(
        -gain.ravel(),
        A_eq=np.vstack([from_drafts, to_tokens]),
        b_eq=np.concatenate([chances, np.asarray(p, np.float64) * chances.sum()]),
    )
    return -float(found.fun or 0.0)


def _programme(rule: str, p: Law, q: Law, n: int) -> float | None:
    """The programme's value where a closed form claims to be the best."""
    if rule == "bound":
        return best_by_programme(p, tuples_with(q, n))
    return best_by_programme(p, tuples_without(q, n)) if rule == "bound-wo" else None


def evidence(sheet: Sheet) -> None:
    """One small case by hand; the order of the rules on random cases."""
    paper = facts("multi")
    p, q = paper["p"], paper["q"]
    for n in paper["num_drafts"]:
        for rule, law in RULES.items():
            why, best = "closed form; the paper's acceptances were not found", _programme(rule, p, q, n)
            if best is not None:
                why = f"the linear programme gives {best:.6f}; the paper's acceptances were not found"
            sheet.predict(_setting(n), f"acceptance, {rule}", law(p, q, n), why, within=EXACT)
    sheet.say(_order())
    sheet.say("At T = 0 every rule is the exact match: they differ for sampled text alone.")


def _order() -> str:
    """What must hold on every case, and what need not."""
    cases = [{rule: law(p, q, 2) for rule, law in RULES.items()} for p, q in _random_cases()]
    ordered = sum(
        case["rrs"] <= case["kseq"] + 1e-9
        and case["kseq"] <= case["bound"] + 1e-9
        and case["rrs-wo"] <= case["bound-wo"] + 1e-9
        for case in cases
    )
    above = sum(case["greedy"] > case["bound-wo"] + 1e-9 for case in cases)
    below = sum(case["greedy"] < case["rrs-wo"] - 1e-9 for case in cases)
    return (
        f"rrs <= kseq <= bound and rrs-wo <= bound-wo hold on {ordered} of {len(cases)} random cases. Greedy "
        f"exceeds bound-wo on {above}, for it draws other drafts, and loses to rrs-wo on {below}."
    )


def _random_cases() -> Iterator[tuple[Sequence[float], Sequence[float]]]:
    import numpy as np

    asked = facts("multi")["random_cases"]
    generator = np.random.default_rng(asked["seed"])
    for _ in range(asked["number"]):
        p, q = generator.dirichlet(np.ones(asked["num_tokens"]), 2)
        yield p.tolist(), q.tolist()


def _setting(n: int) -> str:
    paper = facts("multi")
    return f"p = {paper['p']}, q = {paper['q']}, n = {n}"


def ask(sheet: Sheet, values: Values) -> None:
    """One rule on the small case."""
    paper, rule, n = facts("multi"), str(values["rule"]), int(values["n"])
    accepted = RULES[rule](paper["p"], paper["q"], n)
    sheet.predict(_setting(n), f"acceptance, {rule}", accepted, "closed form", within=EXACT)


SYSTEM = System(
    "multi",
    "Multi-draft: rules and bounds",
    "arXiv 2502.18779, ICLR 2025; SpecTr, arXiv 2310.15141; SpecHub, arXiv 2411.05289",
    "closed forms of acceptance by rule; optima = 1 + min over H of P(H) - Q(H)",
    evidence,
    (
        Parameter("n", "sibling drafts at a position", 1, 3, is_integer=True),
        Parameter("rule", "how they are accepted", default="rrs", words=tuple(RULES)),
    ),
    ask,
)
