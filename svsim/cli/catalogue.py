"""What there is: methods, hardware, models, engines."""

import click

from svsim.cli.app import command, common, option
from svsim.cli.output import console, write_json


@command(
    """
    svsim methods
    svsim methods --json -
    """
)
@common
def methods(json_out: str | None) -> None:
    """List decoding methods, their options, losslessness, what they need, and source; and what may draft."""
    from svsim.catalogue import drafter_entries, method_entries
    from svsim.report.catalogue_tables import print_drafters, print_methods

    entries, drafters = method_entries(), drafter_entries()
    if json_out:
        write_json({"methods": entries, "drafters": drafters}, json_out)
    if json_out != "-":
        print_methods(entries, console())
        print_drafters(drafters, console())


@command(
    """
    svsim hardware
    svsim hardware h100_sxm my_gpu.json --prices my_prices.json --json -
    """
)
@click.argument("names", nargs=-1)
@option("--prices", metavar="FILE", help="Your own prices per GPU-hour (JSON).  [default: dated examples]")
@common
def hardware(names: tuple[str, ...], prices: str | None, json_out: str | None) -> None:
    """List GPUs by data sheet, with sources. NAMES: some of them, or a .json file that describes one."""
    from svsim.catalogue import hardware_entries
    from svsim.report.catalogue_tables import print_hardware

    entries = hardware_entries(names, prices)
    if json_out:
        write_json({"hardware": entries}, json_out)
    if json_out != "-":
        print_hardware(entries, console())


@command(
    """
    svsim models
    svsim models --config my-model/config.json --json -
    """
)
@option("--config", metavar="FILE", help="Read one model's Hugging Face config.json instead.")
@common
def models(config: str | None, json_out: str | None) -> None:
    """List known model shapes, or read one from a config.json."""
    from svsim.catalogue import model_entries
    from svsim.report.catalogue_tables import print_models

    entries = model_entries(config)
    if json_out:
        write_json({"models": entries}, json_out)
    if json_out != "-":
        print_models(entries, console())


@command(
    """
    svsim engines
    svsim engines vllm-0.24 --json -
    """
)
@click.argument("names", nargs=-1)
@common
def engines(names: tuple[str, ...], json_out: str | None) -> None:
    """List engine profiles: what a step costs beside its passes, and how wrong their prices were.

    NAMES: some of them, an engine's version (vllm-0.24), or a .json file that holds a profile of your own.
    Errors are of panels whose family had no part in the fit; docs/engine_prices.md shows every one.
    """
    from svsim.catalogue import engine_entries
    from svsim.report.engine_tables import print_engines

    entries = engine_entries(names)
    if json_out:
        write_json({"engines": entries}, json_out)
    if json_out != "-":
        print_engines(entries, console())
