"""The whole programme of measurements on one GPU: ``python calibration/gpu_programme.py [a] [b] [c] [d]``.

Parts run alone, each in at most 9 minutes on an H200-class GPU, in the order given (default: a b c d).
a and c measure step times, b captures traces, d compares predictions with hardware in the loop (it uses
the tables of a and c if they are in the folder of the results). ``--scale rehearsal`` runs everything at
tiny size on the CPU; ``--scale cpu`` makes the CPU's traces in some ten minutes of one core (part b; part d,
a quarter of an hour, if asked for). Needs svsim, torch, transformers and tokenizers; nothing is downloaded.
Part b goes on with a triplet that was trained before.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from svsim.collect.programme import Programme
from svsim.collect.programme_scale import CPU, FULL, rehearsal
from svsim.errors import SvsimError


def main() -> int:
    """Run the parts asked for; 0 if all of them finished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="a, b, c, d (default: all four; cpu: b)")
    parser.add_argument("--out", type=Path, default=Path("calibration/out"), help="folder of the results")
    parser.add_argument("--triplet", type=Path, help="folder of part b's models (default: OUT/triplet)")
    parser.add_argument("--scale", choices=["full", "cpu", "rehearsal"], default="full")
    arguments = parser.parse_args()
    parts = arguments.parts or (["b"] if arguments.scale == "cpu" else ["a", "b", "c", "d"])
    unknown = sorted(set(parts) - {"a", "b", "c", "d"})
    if unknown:
        parser.error(f"no part {unknown[0]}; the parts are a, b, c, d")
    with tempfile.TemporaryDirectory() as scratch:
        scales = {"full": FULL, "cpu": CPU, "rehearsal": rehearsal(Path(scratch))}
        command = f"python calibration/gpu_programme.py --scale {arguments.scale} {' '.join(parts)}"
        triplet = arguments.triplet or arguments.out / "triplet"
        try:
            programme = Programme(
                scales[arguments.scale],
                arguments.out,
                triplet,
                command=command,
                say=say,
            )
            for part in parts:
                if part == "d":
                    # only this part needs the compiled engines
                    from svsim.validation.programme import SCALES, run_part_d

                    scale = SCALES[arguments.scale]
                    run_part_d(scale, arguments.out, Path(scratch), triplet, command=command, say=say)
                else:
                    programme.run(part)
        except SvsimError as error:
            print(f"gpu_programme: {error}", file=sys.stderr)
            return error.exit_code
    return 0


def say(line: str) -> None:
    """One line, at once."""
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
