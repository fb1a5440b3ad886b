"""The long version: `python -m tests.faults --kills 50`.

A training run is killed at that many random moments, at each fsync and at each renaming; the disk is full at forty
writes, and forty bits are flipped.
"""

import argparse
import os
import sys

import pytest

from tests.faults.server import ROOT

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="random moments (default: 50)")
    os.environ["MINAST_TEST_KILLS"] = str(parser.parse_args().kills)
    sys.exit(pytest.main(["-q", "--durations=5", str(ROOT / "tests" / "faults")]))
