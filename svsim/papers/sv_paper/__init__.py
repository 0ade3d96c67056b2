"""A paper's evidence set against what svsim predicts from a part of it.

``svsim reproduce sv-paper``: Speculative Verification (arXiv 2509.24328 v2). Reading order:

published.py     the numbers the paper prints, with their read-off errors
step_times.py    seconds per step, fitted to target-only decoding and SD(5) of a panel
acceptance.py    synthetic acceptance with the panel's published rate of SD(5)
panels.py        figure 3 predicted: SD(7), SV(5), SV(7), and what the prediction hangs on
serial_cost.py   what drafting before verification costs, and how much of it the bars do not show
variants.py      figure 4: ranks and ratios of rival methods after calibrating on two of them
savings.py       tables 3 and 9: operations saved, fairness
modern_engine.py the same acceptance at svsim's own prices, under an engine's profile
signals.py       tables 1 and 8: what the signals of recorded traces tell
claims.py        what the paper says, each confirmed, not confirmed or not testable (``verdicts``,
                 ``goodput_claims``, ``overlap_claims``, ``table_claims``)
sv_paper.py      all of it, in one call

What is predicted is never fitted: ``published.Panel.calibration`` hands out the calibration bars only.
"""
