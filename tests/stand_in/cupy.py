"""In front on PYTHONPATH, this is what `import cupy` finds: tests/fake_cupy takes its place, for the whole process."""

import pytest

from tests import fake_cupy

fake_cupy.install(pytest.MonkeyPatch(), late="all")  # nobody undoes it
