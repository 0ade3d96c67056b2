"""What the closed loop says at the batch that the open loop ran at on average."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from svsim.open_loop.question import OpenLoopQuestion
from svsim.open_loop.understand import with_prices
from svsim.run import answer, open_source
from svsim.serving.metrics import label_of
from svsim.spelling import deployment_name

Row = Mapping[str, Any]


def beside_closed_loop(asked: OpenLoopQuestion, rows: Sequence[Row]) -> tuple[Row, ...]:
    """By method and hardware: batch, seconds per token and speedup over td in both loops.

    The closed loop decodes only: no prompts, no queue, a batch that never changes. Empty without a trace.
    """
    if asked.trace is None:
        return ()
    source = open_source(asked.trace, asked.options.run.models)
    run = with_prices(asked.options.run, source)
    lent = asked.run.demand.trace
    most = 1 if lent is None else lent.num_requests  # a closed batch holds different requests
    sizes = {id(row): min(max(1, round(row["mean_batch"] or 1.0)), most) for row in rows}
    closed = answer("replay", asked.trace, replace(run, batch_sizes=tuple(sorted(set(sizes.values())))))
    found = []
    for row in rows:
        deployment = deployment_name(row["hardware"], row["tensor_parallel"], row["hardware_options"])
        same = [
            one
            for one in closed.rows
            if one.batch_size == sizes[id(row)]
            and one.label == label_of(dict(row))
            and one.deployment == deployment
        ]
        if same and same[0].goodput_tok_s:
            found.append(
                {
                    "method": row["method"],
                    "params": row["params"],
                    "deployment": deployment,
                    "mean_batch": row["mean_batch"],
                    "batch_size": same[0].batch_size,
                    "open_tpot_s": row["tpot_s_mean"],
                    "closed_tpot_s": same[0].tpot_s,
                    "closed_speedup_vs_td": same[0].speedup_vs_td,
                    "mean_acceptance_length": row["mean_acceptance_length"],
                    "closed_mean_acceptance_length": same[0].mean_acceptance_length,
                }
            )
    return tuple(found)
