"""`python -m consensus_jax` is the command `consensus`."""

import sys

from consensus_jax import cli

sys.exit(cli.main())
