"""A small version of what benchmarks/study_load.py does in full."""

import pytest

from benchmarks import study_load
from consensus_jax.study import visitors


@pytest.mark.slow
def test_many_at_once_lose_and_double_nothing(tmp_path):
  study = study_load.protocol(questions_per_group=1, group_size=3)
  plan = visitors.Plan.of(
    study,
    people=6,
    think_seconds=0.05,
    arrive_seconds=0.5,
    poll_seconds=0.3,
    limit_seconds=600.0,
  )
  report, stored, servers = study_load.run(
    tmp_path, study, plan, tell=lambda text: None
  )
  assert report.done == 6
  assert report.failures == {}
  assert report.asked_again == 0
  assert (stored.lost, stored.duplicated) == ((), ())
  # All that they answered, and nothing else.
  assert stored.unacknowledged == ()
  assert report.acknowledged == 6 * 20
  jobs, made = servers.jobs()
  assert len(made) == len(jobs) > 0
  assert all((job.state, job.attempts) == ('done', 1) for job in jobs)
