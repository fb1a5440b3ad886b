"""The examples in docstrings that can run by themselves do what they say."""

import doctest

import pytest

from minast import config, metrics


@pytest.mark.parametrize("module", [config, metrics], ids=lambda module: module.__name__)
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
