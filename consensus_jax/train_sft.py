"""`python -m consensus_jax.train_sft --gin_file=runs/sft.gin ...`."""

import sys

from consensus_jax.training import command

if __name__ == '__main__':
  sys.exit(command.main('sft'))
