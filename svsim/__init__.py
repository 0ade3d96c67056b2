"""svsim: what does speculative decoding really do under load?

Reading guide, four files for the whole flow:

1. ``svsim/workload/token_trace.py``   what was recorded: signals and acceptance at every position
2. ``svsim/decoding/method.py``        what work a decoding method does, bound to arrays
3. ``svsim/engines/step.py``           one decoding step: plan, price, advance
4. ``svsim/engines/replay.py``         the closed loop that takes steps until every request is served
"""
