"""Shared by the emulator's tests: run a kernel of features.cu in some mode."""

import os
from pathlib import Path

import pytest

from minast.emulator import build as emulator_build
from minast.errors import Error
from minast.gpu import kernel_source
from minast.launch import emulation, launch

FEATURES = Path(__file__).with_name("features.cu")
ORDERS = ("forward", "reverse", "random")


def features():
    return kernel_source.load(FEATURES)


def run(kernel, *args, grid=1, block=1, shared_bytes=0, **modes):
    with emulation(**modes):
        launch(FEATURES, kernel, grid, block, args, shared_bytes)


def missing():
    """Why the emulator cannot run here, or ''."""
    try:
        emulator_build.check_platform()
        emulator_build.compiler()
    except Error as e:
        return str(e)
    return ""


# In CI a missing compiler is no reason to be green: the tests run, and fail with the sentence.
needs_emulator = pytest.mark.skipif(bool(missing()) and os.environ.get("CI") != "true", reason=missing() or "-")
