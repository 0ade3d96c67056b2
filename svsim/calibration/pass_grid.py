"""Which passes a calibration times, most valuable first.

core     every batch size at the shortest, middle and longest pass, at every context.
prompts  one sequence, up to the longest context.
stairs   both sides of every captured graph size up to 512 tokens and every 32 tokens beyond, at the middle
         context: the stairs of graph padding and the slope per token of the target and the companion.
         (Without them a line between two sizes is half a stair too low.)
the rest intermediate lengths and ragged batches of the target.
"""

from svsim.calibration.pass_layout import MAX_DECODE_QUERIES, PassLayout
from svsim.latency.pass_work import MAX_GRAPH_TOKENS, graph_padded
from svsim.latency.shape import Role

PROMPT_TOKENS = (64, 256, 1024, 2048, 4096)
# beyond the largest graph nothing is padded; steps fine enough for the tiles of matrix products
LARGE_STEP = 32


def calibration_layouts(
    role: Role, num_sequences: tuple[int, ...], contexts: tuple[int, ...], num_speculative_tokens: int
) -> list[PassLayout]:
    """Layouts of one role in order of value, each once. Prompts end at the longest context."""
    batches, depths = sorted(num_sequences), sorted(contexts)
    middle, most = depths[len(depths) // 2], num_speculative_tokens + 1
    queries = _queries(role, most)
    layouts = [PassLayout.spread(b, b * q, depth) for q in queries for depth in depths for b in batches]
    layouts += [PassLayout.spread(1, n, 0) for n in PROMPT_TOKENS if MAX_DECODE_QUERIES < n <= depths[-1]]
    if role is not Role.DRAFT:
        layouts += _stairs(batches, middle, most)
    if role is Role.TARGET:
        layouts += [PassLayout.spread(b, b * q, middle) for q in range(1, most + 1) for b in batches]
        layouts += [
            PassLayout.skewed(b, most, depth) for b in batches if b > 1 for depth in (middle, depths[-1])
        ]
    return list(dict.fromkeys(layouts))


def _queries(role: Role, most: int) -> list[int]:
    """Tokens per sequence of the core: what the role computes in a decoding step."""
    if role is Role.DRAFT:
        return [1, 2]
    if role is Role.COMPANION:
        return sorted({1, max(1, (most - 1) // 2), max(1, most - 1), most})
    return sorted({1, (most + 1) // 2, most})


def _stairs(batches: list[int], context: int, most: int) -> list[PassLayout]:
    """Both sides of the graph edges, and steps beyond: with the smallest batch that holds them,
    and with the largest."""
    edges = {int(graph_padded(n)) + side for n in range(1, MAX_GRAPH_TOKENS + 1) for side in (0, 1)}
    beyond = range(MAX_GRAPH_TOKENS + LARGE_STEP, batches[-1] * most, LARGE_STEP)
    layouts = []
    for total in sorted(edges.union(beyond)):
        fitting = [b for b in batches if b <= total <= b * most]
        layouts += [
            PassLayout.spread(b, total, context)
            for b in {*fitting[:1], *fitting[-1:]}
            if b in (*fitting[:1], batches[-1])
        ]
    return layouts
