"""``python -m weightkit`` and the console script."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        from weightkit.cli import group

        group.main(prog_name="weightkit")
    except KeyboardInterrupt:  # before the command line's own boundary was there
        sys.exit(130)


if __name__ == "__main__":
    main()
