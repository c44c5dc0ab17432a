"""The command `consensus data`. Imports what is heavy only when it is needed.

`add_arguments` describes its verbs to argparse, `run` does what they say.
"""

import argparse
from typing import Any

from consensus_jax.data import example_verbs, record_verbs


def add_arguments(parser: argparse.ArgumentParser) -> Any:
  """Adds the verbs to the parser of `consensus data`.

  Returns:
    What `arguments.add_verb` adds further verbs to.
  """
  verbs = parser.add_subparsers(dest='data_verb', required=True, metavar='VERB')
  record_verbs.add_verbs(verbs)
  example_verbs.add_verbs(verbs)
  return verbs


def run(args: argparse.Namespace) -> int:
  """Does what the arguments of `add_arguments` say; returns the exit code.

  Raises:
    InputError: if something is wrong with the input.
    ModelFileError: if there is no such tokenizer.
  """
  return args.run_data_verb(args)
