"""The examples in docstrings that can run by themselves do what they say."""

import doctest

import pytest

from minast import config
from minast.metrics import counting, ranking


@pytest.mark.parametrize("module", [config, counting, ranking], ids=lambda module: module.__name__)
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
