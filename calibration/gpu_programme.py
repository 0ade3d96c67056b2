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

from campaign.compare import part_d
from campaign.measure import part_a, part_b, part_c
from campaign.place import Place
from campaign.scale import SCALES

from svsim.errors import SvsimError

PARTS = {"a": part_a, "b": part_b, "c": part_c, "d": part_d}


def main() -> int:
    """Run the parts asked for; 0 if all of them finished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="a, b, c, d (default: all four; cpu: b)")
    parser.add_argument("--out", type=Path, default=Path("calibration/out"), help="folder of the results")
    parser.add_argument("--triplet", type=Path, help="folder of part b's models (default: OUT/triplet)")
    parser.add_argument("--scale", choices=list(SCALES), default="full")
    arguments = parser.parse_args()
    parts = arguments.parts or (["b"] if arguments.scale == "cpu" else list(PARTS))
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        parser.error(f"no part {unknown[0]}; the parts are {', '.join(PARTS)}")
    command = f"python calibration/gpu_programme.py --scale {arguments.scale} {' '.join(parts)}"
    triplet = arguments.triplet or arguments.out / "triplet"
    with tempfile.TemporaryDirectory() as scratch:
        try:
            place = Place(SCALES[arguments.scale], arguments.out, triplet, Path(scratch), command, say)
            for part in parts:
                PARTS[part](place)
        except SvsimError as error:
            print(f"gpu_programme: {error}", file=sys.stderr)
            return error.exit_code
    return 0


def say(line: str) -> None:
    """One line, at once."""
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
