"""The examples of docs/social_choice.md give what the page says."""

import doctest
import pathlib

import pytest

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'social_choice.md'


def test_examples():
  # Outside of a checkout there is no page.
  if not PAGE.exists():
    pytest.skip('docs are not here')
  failed, tried = doctest.testfile(str(PAGE), module_relative=False)
  assert tried > 10 and failed == 0
