"""Speculative Verification's belief in plain Python, from its definition: no code shared with svsim."""

from functools import cache

import numpy as np

PRIOR_COUNT = 16


def code(signal):
    """A signal in [0, 1] read to 8 bits."""
    return min(int(np.float32(signal) * np.float32(256)), 255)


def cell(asked, codes, num_cells):
    """Cells of about equal count: by how many tokens have a smaller code."""
    below = sum(c < asked for c in codes)
    return min(below * num_cells // max(len(codes), 1), num_cells - 1)


def shrunk(values, prior):
    """The mean of the values and of PRIOR_COUNT more of the prior."""
    return (sum(values) + PRIOR_COUNT * prior) / (len(values) + PRIOR_COUNT)


def learnt(tokens, num_rows=16, num_columns=17):
    """(S, A) -> believed acceptance, from tokens (S, A, acceptance) at depth 1: S cut into rows of about
    equal count, each row cut by A; a cell shrinks to its row, a row to the mean of all."""
    known = [(code(s), code(a), accept) for s, a, accept in tokens]
    overall = sum(accept for _, _, accept in known) / len(known)
    row_of = cache(lambda asked: cell(asked, [s for s, _, _ in known], num_rows))

    @cache
    def believed(s, a):
        row = [(column, accept) for first, column, accept in known if row_of(first) == row_of(s)]
        columns = [column for column, _ in row]
        mine = cell(a, columns, num_columns)
        inside = [accept for column, accept in row if cell(column, columns, num_columns) == mine]
        return shrunk(inside, shrunk([accept for _, accept in row], overall))

    return lambda s, a: believed(code(s), code(a))


def survival(belief, similarity, companion_accept):
    """Probability that each depth is reached and accepted, in steps of 1/1023, a list per position."""
    rows = []
    for chain in zip(similarity.tolist(), companion_accept.tolist(), strict=True):
        reached, row = np.float32(1.0), []
        for s, a in zip(*chain, strict=True):
            reached = np.float32(reached * np.float32(belief(s, a)))
            row.append(float(np.rint(reached * 1023)) / 1023)
        rows.append(row)
    return rows
