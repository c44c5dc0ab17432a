"""A small version of what benchmarks/study_load.py does in full."""

import pytest

from benchmarks import study_load
from consensus_jax.study import visitors


@pytest.mark.slow
def test_killed_processes_lose_no_acknowledged_answer(tmp_path):
  study = study_load.protocol(questions_per_group=1, group_size=3)
  plan = visitors.Plan.of(
    study,
    people=6,
    think_seconds=1.0,
    arrive_seconds=1.0,
    poll_seconds=0.3,
    patience_seconds=120.0,
    limit_seconds=600.0,
  )
  report, stored, servers = study_load.run(
    tmp_path,
    study,
    plan,
    kills=3,
    mean_seconds=2.0,
    tell=lambda text: None,
  )
  assert report.done == 6
  assert servers.kills['server'] >= 1 and servers.kills['worker'] >= 1
  assert report.asked_again == 0
  assert (stored.lost, stored.duplicated) == ((), ())
  # No candidate is made twice, though a job may have been begun twice.
  jobs, made = servers.jobs()
  assert all(job.state == 'done' for job in jobs)
  assert {*made.values()} == {8}
