"""All readers that are tried, by name."""

import os
import shutil

from .others import others, training_run
from .weights import weights


def all_readers(work):
    """{name: Reader}; `work`: a folder for what several cases share."""
    shutil.rmtree(work, ignore_errors=True)  # what a worker left that crashed
    os.makedirs(work)
    return weights() | training_run(work) | others()
