"""Retrieval that speculates: seconds of a request by stride."""

from typing import Any

from svsim.cli.app import command, common, option
from svsim.cli.output import console, write_json


@command(
    """
    svsim retrieval --a 0.25 --b 4.26 --gamma 0.6
    svsim retrieval --a 0.25 --b 4.26 --gamma 0.6 --stride 3 --stride os3 --async
    svsim retrieval --a 0.25 --b 0.086 --gamma 0.785 --stride 2 --regenerate --json -
    """
)
@option("--a", type=float, required=True, metavar="S",
        help="Seconds of a speculation: a cached document, and the tokens generated with it.")  # fmt: skip
@option("--b", type=float, required=True, metavar="S",
        help="Seconds of a verification: one retrieval from the knowledge base.")  # fmt: skip
@option("--gamma", type=float, required=True, metavar="P",
        help="Chance that the cached document is the true one; a prefetch raises it.")  # fmt: skip
@option("--stride", multiple=True, metavar="N|os3",
        help="Documents per verification; repeatable; os3 adapts it.  [default: 1 to 8, os3]")  # fmt: skip
@option("--documents", type=int, default=32, show_default=True, metavar="N", help="Retrievals of a request.")
@option("--b-per-query", type=float, default=0.0, metavar="S",
        help="Seconds of every further query of a verification.  [default: 0]")  # fmt: skip
@option("--regenerate", is_flag=True, help="A miss costs another a; in the paper's objective it does not.")
@option("--async", "overlap", is_flag=True,
        help="A cycle's first speculation runs beside the verification before it, ideally.")  # fmt: skip
@option("--window", type=int, default=5, show_default=True, metavar="N",
        help="Verifications that os3 estimates gamma from.")  # fmt: skip
@option("--gamma-max", type=float, default=0.6, show_default=True, metavar="P",
        help="The most that os3 believes of gamma.")  # fmt: skip
@option("--max-stride", type=int, default=8, show_default=True, metavar="N", help="Longest stride to choose.")
@option("--requests", type=int, default=2000, show_default=True, metavar="N", help="Simulated requests.")
@option("--seed", type=int, default=0, show_default=True, help="Seed of the simulation.")
@common
def retrieval(json_out: str | None, **options: Any) -> None:
    """What does speculative retrieval save? RaLMSpec (arXiv 2401.14021), as a renewal process.

    Documents are guessed from a cache and verified a stride at a time; closed forms beside simulated
    requests, and the best stride. docs/methods.md says what is idealised.
    """
    from svsim.speculative_retrieval.strides import retrieval as ask

    found = ask(**options)
    if json_out:
        write_json(found.to_dict(), json_out)
    if json_out != "-":
        from svsim.report.retrieval import print_retrieval

        print_retrieval(found, console())
