"""Which statement a group's people prefer, by what they answered."""

import sqlalchemy as sa

from consensus_jax.study import steps
from consensus_jax.study.protocol import Protocol
from consensus_jax.study.steps import GroupQuestion, GroupView
from consensus_jax.study.tables import answers


def of_round(
  connection: sa.Connection,
  protocol: Protocol,
  group: GroupView,
  question: GroupQuestion,
  round_: int,
  names: list[str],
) -> int:
  """The id of the statement that won a round.

  By Schulze's rule on the rankings, or by mean agreement where the protocol has
  no ranking; ties are broken by ballots drawn with the study's seed.

  Args:
    connection: that reads.
    protocol: of the study.
    group: whose round it is.
    question: of the group.
    round_: 0 or 1.
    names: participants who count; all have judged all that was shown.
  """
  shown = question.shown[round_]
  if len(shown) == 1:
    return shown[0]
  kind = 'rank' if protocol.rank else 'rate'
  query = sa.select(answers.c.participant_id, answers.c.content).where(
    answers.c.group_id == group.id,
    answers.c.position == question.position,
    answers.c.round == round_,
    answers.c.kind == kind,
    answers.c.participant_id.in_(names),
  )
  given: dict[str, dict[int, int]] = {name: {} for name in names}
  for name, content in connection.execute(query):
    if protocol.rank:
      given[name] = {int(key): r for key, r in content['ranks'].items()}
    else:
      given[name][content['statement']] = -content['agreement']
  seed = steps.draw(
    protocol, 'winner', group.id, question.position, round_
  ).getrandbits(32)
  table = [[given[name][each] for name in names] for each in shown]
  size = protocol.group_size
  return shown[_first(table, size, protocol.rank, seed)]


def prepare(protocol: Protocol) -> None:
  """Compiles what choosing needs, so that no participant waits for it."""
  for count in range(2, protocol.candidates_shown + 1):
    _first([[0]] * count, protocol.group_size, protocol.rank, 0)


def _first(
  table: list[list[int]], size: int, by_schulze: bool, seed: int
) -> int:
  # Lower is better; rows are statements, columns members. Imported here, as the
  # command answers without jax.
  import numpy as np

  from consensus_jax.social_choice import schulze, tie_breaks

  scores = np.array(table)
  ballots = np.stack([_dense(column) for column in scores.T], axis=1)
  members = ballots.shape[1]
  if by_schulze:
    # Filled up with members to whom all statements are alike: one program
    # then serves groups of all sizes.
    ranks = np.asarray(
      schulze.schulze(np.pad(ballots, ((0, 0), (0, size - members))))
    )
  else:
    ranks = _dense(scores.sum(axis=1))
  order = tie_breaks.break_ties(
    ranks, lambda member: ballots[:, member], members, 'tbrc', seed
  )
  return int(order.argmin())


def _dense(values):
  """Ranks from 0 without gaps; lower is better."""
  import numpy as np

  return np.unique(values, return_inverse=True)[1].reshape(-1)
