"""What all tests share."""

from __future__ import annotations

import os

# Set before numpy is imported: several test runs on one machine would spend their time waiting for
# the threads of one another's BLAS.
os.environ.setdefault("OMP_NUM_THREADS", "1")
