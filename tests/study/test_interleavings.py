"""Whatever people, clocks and workers do, in whatever order.

No answer is lost or stored twice, the state that is kept agrees with what it
follows from, nobody sees what another wrote, and every group ends.
"""

import json
import random
import tempfile
from typing import get_args

import hypothesis
import pytest
import sqlalchemy as sa
import study_people as people
from hypothesis import strategies as st

from consensus_jax.study import candidates, database, entry, flow, tables, view
from consensus_jax.study.protocol import Ending

PROTOCOLS = st.fixed_dictionaries(
  {
    'critique_round': st.booleans(),
    'position': st.booleans(),
    'after_abandoned': st.sampled_from(['lobby', 'survey']),
    'questions_per_group': st.integers(1, 2),
    'survey': st.sampled_from([[], [{'id': 'fair', 'prompt': 'Fair?'}]]),
    'conditions': st.sampled_from(
      [
        [{'name': 'all'}],
        [{'name': 'one out', 'exclude': 1}],
        [{'name': 'people', 'systems': [{'name': 'p', 'policy': 'human'}]}],
      ]
    ),
  }
)
LEASE = 60.0


# What may happen, and how often relative to the rest.
ACTIONS = {
  'all_answer': 30,
  'one_answers': 20,
  'claim': 10,
  'finish': 10,
  'fail': 4,
  'claim_and_die': 2,
  'old_answer': 5,
  'draft': 5,
  'join': 3,
  'withdraw': 1,
  'wait_briefly': 8,
  'wait_long': 2,
  'pause': 1,
}


class Study:
  """People, workers and a clock, at random."""

  def __init__(self, folder, fields, chance):
    self.study = people.protocol_of(**fields)
    self.engine = people.opened(folder, self.study)
    self.chance = chance
    self.now = 1000.0
    self.names = []
    self.acknowledged = {}
    self.job = None
    for _ in range(chance.randint(2, 6)):
      self.join()

  def run(self, times):
    names, weights = zip(*ACTIONS.items(), strict=True)
    for index, action in enumerate(
      self.chance.choices(names, weights, k=times)
    ):
      getattr(self, action)()
      if index % 16 == 0:
        self.check()
    self.check()
    self.check_end()
    self.check()
    self.engine.dispose()

  def someone(self):
    return self.chance.choice(self.names)

  def join(self):
    if len(self.names) < 8:
      self.names.append(people.join(self.engine, self.study, self.now))

  def one_answers(self):
    self.answer(self.someone(), twice=self.chance.random() < 0.3)

  def all_answer(self):
    for name in self.names:
      self.answer(name)
    self.tick()

  def old_answer(self):
    """Back button, or a second tab."""
    name = self.someone()
    known = sorted(key for n, key in self.acknowledged if n == name)
    if known:
      key = self.chance.choice(known)
      status = people.submit(
        self.engine, self.study, name, key, {'other': 1}, self.now
      )
      assert status == 'late'

  def draft(self):
    name = self.someone()
    step = people.current(self.engine, self.study, name, self.now)
    if step.kind in ('opinion', 'critique'):
      with database.writing(self.engine) as connection:
        text = {'text': f'draft of {name}'}
        flow.save_draft(
          connection, self.study, name, step.key, text, now=self.now
        )

  def withdraw(self):
    with database.writing(self.engine) as connection:
      flow.withdraw(connection, self.study, self.someone(), now=self.now)

  def wait_briefly(self):
    self.wait(self.chance.choice([1.0, 50.0]))

  def wait_long(self):
    self.wait(self.chance.choice([190.0, 400.0]))

  def wait(self, seconds):
    self.now += seconds
    for name in self.names:
      if self.chance.random() < 0.9:
        entry.note_seen(self.engine, name, now=self.now)
    self.tick()

  def pause(self):
    self.tick()
    with database.writing(self.engine) as connection:
      before = self.endings(connection)
      flow.pause(connection, now=self.now)
    self.now += 5000.0
    self.tick()
    with database.writing(self.engine) as connection:
      flow.resume(connection, now=self.now)
    for name in self.names:
      entry.note_seen(self.engine, name, now=self.now)
    with database.reading(self.engine) as connection:
      # Nobody's time has run out meanwhile.
      assert self.endings(connection) == before

  def claim_and_die(self):
    self.claim()
    self.now += LEASE + 1

  def claim(self):
    with database.writing(self.engine) as connection:
      self.job = candidates.claim(
        connection, self.study, 'w', now=self.now, lease_seconds=LEASE
      )
    if self.job:
      self.check_request(self.job.request)

  def finish(self):
    if self.job:
      for _ in range(2):  # A worker that was thought dead comes back.
        with database.writing(self.engine) as connection:
          candidates.finish(
            connection,
            self.study,
            self.job,
            people.statements_of(self.job.request),
            now=self.now,
          )
      self.job = None

  def fail(self):
    if self.job:
      with database.writing(self.engine) as connection:
        candidates.fail(
          connection, self.study, self.job, 'no luck', now=self.now
        )
      self.job = None

  def tick(self):
    people.tick(self.engine, self.study, self.now)

  def answer(self, name, twice=False):
    step = people.current(self.engine, self.study, name, self.now)
    self.check_seen(name, step)
    given = people.reply(step, self.study, text=f'opinion of {name}')
    if given is None:
      return
    status = people.submit(
      self.engine, self.study, name, step.key, given, self.now
    )
    assert status == 'stored'
    assert (name, step.key) not in self.acknowledged
    self.acknowledged[name, step.key] = given
    if twice:
      again = people.submit(
        self.engine, self.study, name, step.key, given, self.now
      )
      assert again == 'same'

  def check_request(self, request):
    with database.reading(self.engine) as connection:
      rows = connection.execute(
        sa.select(tables.memberships).where(
          tables.memberships.c.group_id == request.group_id,
          tables.memberships.c.state == 'active',
        )
      ).all()
    heard = {row.participant_id for row in rows if not row.excluded}
    assert set(request.opinions) == heard or not heard
    assert set(request.critiques) == (
      set(request.opinions) if request.round else set()
    )

  def check_seen(self, name, step):
    """Nobody sees what another wrote, except as a candidate after failures."""
    shown = json.dumps(dict(step.content))
    with database.reading(self.engine) as connection:
      by_people = set(
        connection.execute(
          sa.select(tables.statements.c.text).where(
            tables.statements.c.system == 'human'
          )
        ).scalars()
      )
    for other in self.names:
      for text in (f'opinion of {other}', f'draft of {other}'):
        if other != name and text in shown:
          assert text in by_people
          assert step.kind not in ('position', 'opinion', 'wait', 'lobby')

  def endings(self, connection):
    return dict(
      connection.execute(
        sa.select(tables.participants.c.id, tables.participants.c.state)
      ).all()
    )

  def check(self):
    with database.reading(self.engine) as connection:
      self.check_nothing_lost(connection)
      self.check_rows_agree(connection)
      self.check_statements(connection)

  def check_nothing_lost(self, connection):
    stored = {
      (row.participant_id, row.step_key): row
      for row in connection.execute(sa.select(tables.answers))
    }
    for key, given in self.acknowledged.items():
      assert given.items() <= stored[key].content.items()
    for key in stored.keys() - self.acknowledged.keys():
      assert stored[key].from_draft
      self.acknowledged[key] = stored[key].content

  def check_rows_agree(self, connection):
    for name in self.names:
      step = flow.current_step(connection, self.study, name, now=self.now)
      assert step.key == flow.current_key(connection, name)
      active = view.participant(connection, name).state == 'active'
      assert active == (step.kind not in get_args(Ending))

  def check_statements(self, connection):
    """No candidates were made twice, nor does one stand twice in a round."""
    s = tables.statements.c
    rounds = sa.select(
      s.group_id, s.position, s.round, sa.func.count(s.id)
    ).group_by(s.group_id, s.position, s.round)
    for *_, count in connection.execute(rounds):
      assert 1 <= count <= self.study.group_size
    texts = connection.execute(
      sa.select(s.group_id, s.position, s.round, s.text).where(s.shown)
    ).all()
    assert len(set(texts)) == len(texts)

  def check_end(self):
    """If everybody goes away now, all ends by itself."""
    for _ in range(12):
      self.now += 2000.0
      self.tick()
    with database.reading(self.engine) as connection:
      assert 'active' not in self.endings(connection).values()
      states = set(
        connection.execute(sa.select(tables.groups.c.state)).scalars()
      )
      assert states <= {'done', 'abandoned'}
      states = set(connection.execute(sa.select(tables.jobs.c.state)).scalars())
      assert states <= {'done', 'failed'}


@pytest.mark.slow
@hypothesis.settings(
  max_examples=4,
  deadline=None,
  # A seed does not become simpler.
  phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
@hypothesis.given(PROTOCOLS, st.integers(0, 2**32))
def test_nothing_is_lost_and_all_ends(fields, seed):
  with tempfile.TemporaryDirectory() as folder:
    Study(folder, fields, random.Random(seed)).run(80)
