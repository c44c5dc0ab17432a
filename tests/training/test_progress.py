"""What a run remembers, and when it calls its loss exploded."""

import json
import math

import pytest

from consensus_jax.training.progress import Diverged, Progress


def after(losses, max_ratio=4.0):
  progress = Progress()
  for loss in losses:
    progress = progress.after_step(loss, batch_size=8, max_ratio=max_ratio)
  return progress


@pytest.mark.parametrize('loss', [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops(loss):
  with pytest.raises(Diverged, match='the loss is') as caught:
    after([1.0, 1.0, loss])
  assert (caught.value.progress.step, caught.value.progress.position) == (2, 16)


def test_a_loss_that_explodes_stops():
  with pytest.raises(Diverged, match='exploded'):
    after([2.0, 1.5, 1.2, *[12.0] * 10])


def test_one_bad_batch_or_a_small_loss_that_doubles_does_not_stop():
  after([2.0, 1.0, 8.0, 1.0])
  after([0.5, 0.05, *[0.6] * 50])


def test_the_best_is_the_first_of_the_lowest():
  progress = Progress()
  for step, loss in enumerate([3.0, 2.0, 2.0, 2.5], 1):
    progress = progress.after_step(1.0, batch_size=1, max_ratio=4.0)
    progress = progress.after_evaluation(loss)
    assert progress.evaluated == step
  assert (progress.best_step, progress.best_loss, progress.stale) == (2, 2.0, 2)


def test_json_keeps_every_bit():
  progress = after([1 / 3, 2 / 7]).after_evaluation(0.1 + 0.2)
  text = json.dumps(progress.to_json())
  assert Progress.from_json(json.loads(text)) == progress
