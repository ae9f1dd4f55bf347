"""``python -m weightkit`` and the console script."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process with its status."""
    status: object = 130
    # A command makes an index and ends: cycles are rare, and looking for them is a fifth of its
    # time. An index of 20,000 tensors is half a million objects, so that many are no reason yet.
    gc.set_threshold(1_000_000, 5, 100)
    # NumPy's linear algebra, which is hardly used here, starts threads that spin for 50 ms.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # For worker processes, and what clears up after them: that we end at once is no news to anybody.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        from weightkit.cli import group

        group.main(prog_name="weightkit")
    except SystemExit as end:
        status = end.code
    except KeyboardInterrupt:  # before the command line's own boundary was there
        pass
    _leave(status if isinstance(status, int) else int(status is not None))


def _leave(status: int) -> NoReturn:
    """End at once: freeing the million objects of a large index one by one takes a tenth of a second.

    Everything is written and closed by now; what standard output still holds is flushed here.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # nobody reads, closed, or never there
        pass
    os._exit(status)


if __name__ == "__main__":
    main()
