"""Many deliberations, an outcome each, that can go on after an interruption."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consensus_jax.deliberation import Deliberation, Outcome
from consensus_jax.outcome_file import OutcomeLines

Report = Callable[[int, int | None], None]


def run_all(
  deliberations: Sequence[Deliberation],
  make: Callable[[Deliberation], Outcome],
  *,
  path: str | os.PathLike[str],
  run: Mapping[str, Any],
  progress: Report | None = None,
) -> list[Outcome]:
  """The outcome of each deliberation; each is on disk before the next begins.

  Args:
    deliberations: with different contents.
    make: what is done with one.
    path: JSONL of outcomes. What an earlier run left there is kept, if it was
      made of the same deliberations in the same way.
    run: how they are made, as JSON values; recorded in each outcome.
    progress: called with (done, in all).

  Raises:
    InputError: if the file holds anything else, or cannot be written.
  """
  prints = {i: each.fingerprint for i, each in enumerate(deliberations)}
  lines = OutcomeLines(str(path), prints, run)
  lines.start()
  outcomes = dict(lines.kept)
  for index, deliberation in enumerate(deliberations):
    if progress:
      progress(len(outcomes), len(deliberations))
    if index not in outcomes:
      outcome = dataclasses.replace(
        make(deliberation), run={**run, 'input_sha256': prints[index]}
      )
      lines.put(index, outcome.to_json())
      outcomes[index] = outcome
  if progress:
    progress(len(outcomes), len(deliberations))
  return [outcomes[index] for index in range(len(deliberations))]
