"""The law of the companion's A under the draft's q, as traces record it: shares of q by bin of A.

Column b of a depth is the sum of q(v) over the tokens v whose A(v) lies in [b/8, (b+1)/8), A = 1 in the last.
"""

NUM_BINS = 8
HISTOGRAM = tuple(f"companion_accept_bin_{b}" for b in range(NUM_BINS))
