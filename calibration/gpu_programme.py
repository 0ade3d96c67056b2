"""The whole programme of measurements on one GPU: ``python calibration/gpu_programme.py [a] [b] [c]``.

Parts run alone, each in at most 9 minutes on an H200-class GPU, in the order given (default: a b c).
``--scale rehearsal`` runs everything at tiny size on the CPU; ``--scale cpu`` makes the CPU's traces in
some ten minutes of one core (part b only). Needs torch, transformers, tokenizers and pyarrow; nothing is
downloaded. Part b goes on with a triplet that was trained before.
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
    parser.add_argument("parts", nargs="*", metavar="PART", help="a, b, c (default: all three; cpu: b)")
    parser.add_argument("--out", type=Path, default=Path("calibration/out"), help="folder of the results")
    parser.add_argument("--triplet", type=Path, help="folder of part b's models (default: OUT/triplet)")
    parser.add_argument("--scale", choices=["full", "cpu", "rehearsal"], default="full")
    arguments = parser.parse_args()
    parts = arguments.parts or (["b"] if arguments.scale == "cpu" else ["a", "b", "c"])
    unknown = sorted(set(parts) - {"a", "b", "c"})
    if unknown:
        parser.error(f"no part {unknown[0]}; the parts are a, b, c")
    with tempfile.TemporaryDirectory() as scratch:
        scales = {"full": FULL, "cpu": CPU, "rehearsal": rehearsal(Path(scratch))}
        try:
            programme = Programme(
                scales[arguments.scale],
                arguments.out,
                arguments.triplet or arguments.out / "triplet",
                command=f"python calibration/gpu_programme.py --scale {arguments.scale} {' '.join(parts)}",
                say=lambda line: print(line, flush=True),
            )
            for part in parts:
                programme.run(part)
        except SvsimError as error:
            print(f"gpu_programme: {error}", file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
