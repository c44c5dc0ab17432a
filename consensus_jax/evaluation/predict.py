"""What models say about cases: rewards of statements, embeddings of texts.

A row is one person's prefix and statements that follow it, none of which sees
another, as in training: so a prefix is computed once, and rows of all people
travel together, in a few static shapes.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float

from consensus_jax import prompts
from consensus_jax.data.arguments import note
from consensus_jax.data.progress import shown
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.evaluation.cases import Case, quoted
from consensus_jax.inference.buckets import bucket
from consensus_jax.inference.embeddings import embed
from consensus_jax.language_model import LanguageModel
from consensus_jax.mediator import answer_direction
from consensus_jax.overflow import fit
from consensus_jax.training.objectives import rewards_of

# One array a case, one number a statement; NaN where a system says nothing.
Rewards = Sequence[Float[np.ndarray, '_']]

# Statements of a row, at most: one shape for all calls.
_STATEMENTS = 32
_SMALLEST_WIDTH = 128


@dataclasses.dataclass(frozen=True)
class _Row:
  """A prefix and some statements of a case, as token ids."""

  case: int
  places: tuple[int, ...]
  prefix: tuple[int, ...]
  statements: tuple[tuple[int, ...], ...]

  @property
  def length(self) -> int:
    return len(self.prefix) + sum(map(len, self.statements))


def rewards(
  model: LanguageModel,
  cases: Sequence[Case],
  *,
  row_length: int = 512,
  tokens_per_call: int = 4096,
  title: str = 'rewards',
) -> list[np.ndarray]:
  """Rewards of the statements of each case, given its opinion.

  A model with a reward head is used as such; one without is the prompted rater,
  as in `mediator.Mediator`. Shows on standard error how far it is.

  Args:
    model: of any kind, layers stacked or not.
    cases: whose statements to score.
    row_length: tokens of the longest row, at most what the model can read. An
      opinion that does not fit in it beside the longest of its statements is
      cut at its end, and a note says how many are.
    tokens_per_call: of all rows of a call, padding included.
    title: of what is shown.

  Returns:
    float32, one array a case, one reward a statement.

  Raises:
    ValueError: if a question and a statement are longer than a row.
  """
  row_length = min(row_length, model.config.max_length)
  rows = _rows(model, cases, row_length)
  found = [np.zeros(len(case.statements), np.float32) for case in cases]
  head = _head(model)
  total, done = sum(map(len, found)), 0
  with shown(title, 'rewards') as report:
    for chosen, size, width in _calls(rows, row_length, tokens_per_call):
      batch = _batch([rows[i] for i in chosen], size, width)
      values = np.asarray(
        _rewards(model.params, head, batch, config=model.config)
      )
      for row, of_row in zip((rows[i] for i in chosen), values):
        found[row.case][list(row.places)] = of_row[: len(row.places)]
        done += len(row.places)
      report(done, total)
  return found


def num_tokens(
  model: LanguageModel,
  cases: Sequence[Case],
  *,
  row_length: int = 512,
  tokens_per_call: int = 4096,
) -> int:
  """Tokens that `rewards` would compute, padding included.

  Raises:
    ValueError: as `rewards`.
  """
  row_length = min(row_length, model.config.max_length)
  calls = _calls(_rows(model, cases, row_length), row_length, tokens_per_call)
  return sum(size * width for _, size, width in calls)


def silent_where_quoted(
  found: Rewards, cases: Sequence[Case]
) -> list[np.ndarray]:
  """The rewards, NaN for statements that stand in the opinion itself.

  For `swapped` cases, so that they are compared on what neither the own nor
  the other opinion quotes.
  """
  return [
    np.where(quoted(case), np.nan, values).astype(np.float32)
    for case, values in zip(cases, found, strict=True)
  ]


def embeddings(
  model: LanguageModel,
  texts: Sequence[str],
  *,
  max_tokens: int = 512,
  title: str = 'embeddings',
) -> Float[np.ndarray, 'texts embed']:
  """Frozen features of texts: mean last hidden states, of length 1.

  Equal texts are computed once. An empty text has the features of a full stop.

  Args:
    model: whose hidden states.
    texts: any.
    max_tokens: of a text; what follows is cut off, and a note says how often.
    title: of what is shown.
  """
  lines = [prompts.one_line(text) or '.' for text in texts]
  places = {line: place for place, line in enumerate(dict.fromkeys(lines))}
  tokens = [model.tokenizer.encode(line) for line in places]
  _note_cut(sum(len(ids) > max_tokens for ids in tokens), 'texts', max_tokens)
  with shown(title, 'texts') as report:
    found = embed(
      model.params,
      model.config,
      [ids[:max_tokens] for ids in tokens],
      progress=report,
    )
  return found[[places[line] for line in lines]]


def _rows(model, cases, row_length) -> list[_Row]:
  tokenizer = model.tokenizer
  make_prefix = (
    prompts.reward_prefix_ids
    if model.config.reward_head
    else prompts.rater_prefix
  )

  @functools.cache
  def continuation(text: str) -> tuple[int, ...]:
    if model.config.reward_head:
      return tuple(tokenizer.encode(prompts.reward_continuation(text)))
    return tuple(prompts.rater_continuation(text, tokenizer))

  rows: list[_Row] = []
  num_cut = 0
  for index, case in enumerate(cases):
    statements = [continuation(text) for text in case.statements]
    room = row_length - max(map(len, statements))

    def prefix_of(opinion, question=case.question):
      return tuple(make_prefix(question, opinion, tokenizer))

    prefix = prefix_of(case.opinion)
    if len(prefix) > room:
      prefix = prefix_of(_cut(case, prefix_of, tokenizer, room))
      num_cut += 1
    places: list[int] = []
    left = row_length - len(prefix)
    for place, ids in enumerate(statements):
      if len(ids) > left or len(places) == _STATEMENTS:
        rows.append(_row(index, places, prefix, statements))
        places, left = [], row_length - len(prefix)
      places.append(place)
      left -= len(ids)
    rows.append(_row(index, places, prefix, statements))
  _note_cut(num_cut, 'opinions', row_length)
  return rows


def _calls(
  rows: Sequence[_Row], row_length: int, tokens_per_call: int
) -> Iterator[tuple[list[int], int, int]]:
  """Rows that travel together: their places, how many fit, tokens of each."""
  # The longest first: what does not fit into the memory fails at once.
  order = sorted(range(len(rows)), key=lambda i: -rows[i].length)
  while order:
    width = bucket(rows[order[0]].length, _SMALLEST_WIDTH)
    width = min(width, row_length)
    size = max(tokens_per_call // width, 1)
    chosen, order = order[:size], order[size:]
    yield chosen, size, width


def _row(index, places, prefix, statements) -> _Row:
  chosen = tuple(statements[place] for place in places)
  return _Row(index, tuple(places), prefix, chosen)


def _cut(case, prefix_of, tokenizer, room) -> str:
  if not case.opinion or len(prefix_of('')) > room:
    raise ValueError(
      f'{case.participant}: the question and a statement are '
      f'{len(prefix_of("")) - room} tokens longer than a row'
    )
  deliberation = Deliberation(
    case.conversation, case.question, (Opinion(case.participant, case.opinion),)
  )
  fitted, _ = fit(
    deliberation,
    lambda d: list(prefix_of(d.opinions[0].text)),
    tokenizer,
    room,
    'truncate',
  )
  return fitted.opinions[0].text


def _batch(rows, size, width) -> dict[str, np.ndarray]:
  """Rows as `objectives.rewards_of` takes them; what is left is padding."""
  batch = {
    name: np.zeros((size, length), np.int32)
    for name, length in (
      ('tokens', width),
      ('segment_ids', width),
      ('positions', width),
      ('ends', _STATEMENTS),
    )
  }
  for index, row in enumerate(rows):
    parts = (row.prefix, *row.statements)
    start = len(row.prefix)
    batch['tokens'][index, : row.length] = np.concatenate(parts)
    batch['segment_ids'][index, : row.length] = np.repeat(
      np.arange(1, len(parts) + 1), [len(part) for part in parts]
    )
    batch['positions'][index, :start] = np.arange(start)
    at = start
    for place, ids in enumerate(row.statements):
      stop = at + len(ids)
      batch['positions'][index, at:stop] = start + np.arange(len(ids))
      batch['ends'][index, place] = stop - 1
      at = stop
  return batch


@functools.partial(jax.jit, static_argnames='config')
def _rewards(params, head, batch, *, config):
  return rewards_of({**params, 'reward_head': head}, config, batch)


def _head(model):
  if model.config.reward_head:
    return model.params['reward_head']
  return answer_direction(model)


def _note_cut(count: int, what: str, tokens: int) -> None:
  if count:
    note(f'{count} {what} cut to fit into {tokens} tokens')
