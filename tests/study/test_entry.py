"""Ways into a study, and how a browser is known again."""

import pytest
import sqlalchemy as sa
import study_people as people

from consensus_jax.strict_json import InputError
from consensus_jax.study import database, entry, tables

OPEN = people.protocol_of(entry=['open', 'invitation', 'recruitment'])
GIVEN = {'PROLIFIC_PID': 'a1b2', 'STUDY_ID': 's', 'SESSION_ID': 't'}


@pytest.fixture
def engine(tmp_path):
  return people.opened(tmp_path, OPEN)


def join(engine, study=OPEN, **how):
  with database.writing(engine) as connection:
    return entry.join(connection, study, now=5.0, **how)


def find(engine, token, now=5.0):
  with database.reading(engine) as connection:
    return entry.find(connection, token, now=now)


def test_a_token_finds_its_participant_only(engine):
  first, second = join(engine), join(engine)
  assert find(engine, first[1]) == first[0] != second[0]
  assert find(engine, first[1] + 'x') is None
  assert find(engine, '') is None
  assert find(engine, '\udcff') is None


def test_tokens_are_kept_as_hashes_only(engine, tmp_path):
  with database.writing(engine) as connection:
    (invitation,) = entry.invite(connection, ['Ann'], now=0.0)
  _, token = join(engine, invitation=invitation)
  engine.dispose()
  held = b''.join(path.read_bytes() for path in tmp_path.iterdir())
  assert b'Ann' in held
  assert token.encode() not in held
  assert invitation.encode() not in held


def test_an_invitation_leads_back_to_its_participant(engine):
  with database.writing(engine) as connection:
    tokens = entry.invite(connection, ['a', 'b'], now=0.0)
  first, token = join(engine, invitation=tokens[0])
  again, newer = join(engine, invitation=tokens[0])
  assert again == first
  assert find(engine, newer) == first
  assert find(engine, token) is None
  assert join(engine, invitation=tokens[1])[0] != first
  with pytest.raises(InputError, match='invitation: is not known'):
    join(engine, invitation='guess')


def test_a_recruitment_id_opens_nothing_twice(engine):
  participant, _ = join(engine, recruitment=GIVEN)
  with pytest.raises(InputError, match='recruitment: takes part already'):
    join(engine, recruitment=GIVEN)
  other, _ = join(engine, recruitment=GIVEN | {'PROLIFIC_PID': 'other'})
  assert other != participant
  with database.reading(engine) as connection:
    rows = connection.execute(sa.select(tables.recruitment)).all()
  assert ('prolific', 'a1b2') in {(r.platform, r.external_id) for r in rows}


@pytest.mark.parametrize('given', ['', ' ', 'x' * 201, '\0'])
def test_recruitment_ids_that_are_none_are_refused(engine, given):
  with pytest.raises(InputError, match='recruitment'):
    join(engine, recruitment=GIVEN | {'PROLIFIC_PID': given})


@pytest.mark.parametrize(
  ('way', 'how'),
  [
    ('open', {}),
    ('open', {'recruitment': {'utm': '1'}}),
    ('invitation', {'invitation': 'x'}),
    ('recruitment', {'recruitment': GIVEN}),
  ],
)
def test_closed_ways_are_closed(engine, way, how):
  others = [each for each in OPEN.entry if each != way]
  with pytest.raises(InputError, match=f'entry: entry is not {way}'):
    join(engine, people.protocol_of(entry=others), **how)


def test_a_session_expires_long_after_the_end(engine):
  participant, token = join(engine)
  people.submit(engine, OPEN, participant, 'consent', {'consent': False}, 9.0)
  assert find(engine, token, 9.0 + entry.LOOK_BACK_SECONDS) == participant
  assert find(engine, token, 10.0 + entry.LOOK_BACK_SECONDS) is None


def test_who_is_seen_is_noted_now_and_then(engine):
  participant, _ = join(engine)

  def seen_after(now):
    entry.note_seen(engine, participant, now=now)
    with database.reading(engine) as connection:
      return connection.execute(
        sa.select(tables.participants.c.last_seen)
      ).scalar_one()

  assert seen_after(6.0) == 5.0
  assert seen_after(40.0) == 40.0
