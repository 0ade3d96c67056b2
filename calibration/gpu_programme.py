"""The whole programme of measurements on one GPU: ``python calibration/gpu_programme.py [a] [b] [c]``.

Parts run alone, each in at most 9 minutes on an H200-class GPU, in the order given (default: a b c).
``--rehearse`` runs everything at tiny size on the CPU. Needs torch, transformers, tokenizers and pyarrow;
nothing is downloaded.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from svsim.collect.programme import FULL, Programme, rehearsal
from svsim.errors import SvsimError


def main() -> int:
    """Run the parts asked for; 0 if all of them finished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="a, b, c (default: all three)")
    parser.add_argument("--out", type=Path, default=Path("calibration/out"), help="folder of the results")
    parser.add_argument("--rehearse", action="store_true", help="everything at tiny size on the CPU")
    arguments = parser.parse_args()
    parts = arguments.parts or ["a", "b", "c"]
    unknown = sorted(set(parts) - {"a", "b", "c"})
    if unknown:
        parser.error(f"no part {unknown[0]}; the parts are a, b, c")
    with tempfile.TemporaryDirectory() as scratch:
        scale = rehearsal(Path(scratch)) if arguments.rehearse else FULL
        try:
            programme = Programme(scale, arguments.out, lambda line: print(line, flush=True))
            for part in parts:
                programme.run(part)
        except SvsimError as error:
            print(f"gpu_programme: {error}", file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
