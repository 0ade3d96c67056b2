"""``python -m svsim`` is ``svsim``."""

from svsim.cli import main

if __name__ == "__main__":
    main()
