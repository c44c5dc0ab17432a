import pytest
import study_finished
import study_people as people
from sqlalchemy.engine import result_tuple

from consensus_jax.study import quality
from consensus_jax.study.collected import Collected

LONG = (
  'I think that buses in our town should be free for all because cars make '
  'noise and dirt and the streets belong to everybody who lives here.'
)
OTHER = (
  'My view is that somebody has to pay for what we use, and those who ride '
  'should pay more than those of us who walk or stay at home all day.'
)


def row(**values):
  return result_tuple(list(values))(list(values.values()))


def answer(kind, seconds=60.0, at=0.0, **content):
  return row(
    kind=kind,
    seconds=seconds,
    answered_at=at,
    content=content,
    group_id=1,
    position=1,
  )


def rate(agreement, quality=4, seconds=20.0, **more):
  return answer(
    'rate',
    seconds,
    statement=1,
    agreement=agreement,
    quality=quality,
    **more,
  )


def study(**answers):
  """People and their answers; one statement of 30 words."""
  attention = [{'prompt': 'Choose 2.', 'answer': 2}]
  statement = row(id=1, text='word ' * 30)
  return Collected(
    protocol=people.protocol_of(attention=attention),
    names={name: f'p{name}' for name in answers},
    participants={},
    groups={},
    memberships={},
    questions={(1, 1): row(question_id='buses')},
    statements={(1, 1): [statement]},
    answers=answers,
  )


def signs(own):
  found = quality.flags(study(own=own))
  return [flag.sign for flag in found.get('own', [])]


def test_a_careful_person_has_no_flag():
  rates = [rate(1 + index % 7) for index in range(20)]
  own = [answer('opinion', text=LONG), *rates, answer('critique', text=OTHER)]
  assert signs(own) == []


@pytest.mark.parametrize('given, expected', [(2, []), (3, 1)])
def test_attention(given, expected):
  own = [rate(4, attention_item=0, attention=given), rate(5)]
  assert signs(own) == (['failed attention check'] if expected else [])


@pytest.mark.parametrize('seconds, expected', [(3.1, []), (2.9, ['too fast'])])
def test_reading(seconds, expected):
  own = [rate(1 + i % 7, seconds=seconds) for i in range(3)]
  assert signs(own) == expected


def test_one_fast_page_is_no_sign():
  own = [rate(1 + i, seconds=1.0 if i == 1 else 9.0) for i in range(3)]
  assert signs(own) == []


def test_writing():
  count = len(LONG.split())
  limit = count / quality.WRITING
  assert signs([answer('opinion', limit * 1.1, text=LONG)]) == []
  assert signs([answer('opinion', limit * 0.9, text=LONG)]) == ['too fast']
  assert signs([answer('opinion', 0.0, text=LONG)]) == ['too fast']


def test_lines():
  assert signs([rate(5)] * (quality.LINE - 1)) == []
  assert signs([rate(5)] * quality.LINE) == ['straight-lining']
  # Equal agreement alone is no line.
  assert signs([rate(5, 1 + i % 7) for i in range(quality.LINE)]) == []


def test_copies_flag_who_came_second():
  found = quality.flags(
    study(
      first=[answer('opinion', at=1.0, text=LONG)],
      second=[answer('opinion', at=2.0, text=f'{LONG} Yes!')],
      third=[answer('opinion', at=3.0, text=OTHER)],
    )
  )
  assert {*found} == {'second'}
  (flag,) = found['second']
  assert str(flag) == 'near copy: opinion buses, of pfirst'


def test_a_copied_statement_is_a_copy():
  assert signs([answer('critique', text='word ' * 29)]) == ['near copy']


def test_short_texts_are_alike_by_chance():
  found = quality.flags(
    study(
      first=[answer('opinion', text='Yes, of course.')],
      second=[answer('opinion', text='Yes, of course.')],
    )
  )
  assert found == {}


def test_a_whole_study_can_be_looked_at(tmp_path):
  protocol, engine, names = study_finished.finished(tmp_path)
  found = quality.flags(study_finished.read(engine, protocol))
  # They read and write in three seconds.
  assert {*found} <= {*names}
  assert {flag.sign for flags in found.values() for flag in flags} >= {
    'too fast'
  }
