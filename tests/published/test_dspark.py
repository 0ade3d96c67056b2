"""DSpark, arXiv 2607.05147, appendix A: one request, two drafted tokens, steps per second 1, 0.5, 0.45.

a1 = 0.8 and c2 = 0.9, so a2 = 0.72: goodput 1, 0.9, 1.134 for 0, 1 and 2 tokens. The causal rule stops at
the first fall and verifies nothing; a global search verifies both.
"""

import pytest
from support.rival_reference import Compiled, Seen

from svsim.decoding.presets import parse_method
from svsim.decoding.selection_rules import encode_survival

STEPS_PER_S = (1.0, 0.5, 0.45)
SURVIVAL = (0.8, 0.8 * 0.9)


@pytest.mark.parametrize(("search", "length"), [("causal", 0), ("global", 2)])
def test_appendix_a(search, length):
    selection = parse_method(f"dspark:k=2,search={search}").selection
    seen = Seen([encode_survival(SURVIVAL).tolist()], lambda e: 1 / STEPS_PER_S[e], 0.0, [0.0] * 3)
    assert Compiled(selection.rule, selection.options).lengths(seen) == [length]
    assert [float(seen.goodput(e)) / 1023 for e in range(3)] == pytest.approx([1.0, 0.9, 1.134], abs=1e-3)


def test_a_table_without_the_second_step_s_relief_verifies_nothing_either_way():
    """The case turns on the third price: at 0.35 steps per second no search verifies."""
    seen = Seen([encode_survival(SURVIVAL).tolist()], lambda e: 1 / (1.0, 0.5, 0.35)[e], 0.0, [0.0] * 3)
    for search in ("causal", "global"):
        selection = parse_method(f"dspark:k=2,search={search}").selection
        assert Compiled(selection.rule, selection.options).lengths(seen) == [0]
