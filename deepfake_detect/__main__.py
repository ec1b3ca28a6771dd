"""`python -m deepfake_detect` is the same as `deepfake-detect`."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
