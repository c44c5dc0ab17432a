"""What a reward model must beat, from chance to what others voted."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, special  # type: ignore[import-untyped]

from consensus_jax.data.arguments import note
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.evaluation.cases import Case

Features = Float[np.ndarray, 'rows features']
# Features of texts, such as `predict.embeddings` of a model.
Embed = Callable[[Sequence[str]], Float[np.ndarray, 'texts embed']]

# Strengths of the penalty among which `fit` chooses.
PENALTIES = (1e-2, 1e-1, 1.0, 10.0)
_FOLDS = 4


def chance(cases: Sequence[Case], *, seed: int) -> list[np.ndarray]:
  """Normal random numbers."""
  rng = np.random.default_rng(seed)
  return [rng.standard_normal(len(case.statements)) for case in cases]


def length(cases: Sequence[Case]) -> list[np.ndarray]:
  """Hundreds of characters: the longer, the better.

  Not single ones, as utilities are made of rewards within -10 and 10.
  """
  return [
    np.array([len(text) / 100 for text in case.statements]) for case in cases
  ]


def popularity(
  cases: Sequence[Case], records: Iterable[JudgedDeliberation]
) -> list[np.ndarray]:
  """Log-odds of agreement among the other people of the conversation.

  (agreements + 1) / (disagreements + 1), without those of the person. It knows
  what a new statement cannot bring, so that it is an oracle. Passes do not
  count; a statement that nobody else voted on has log-odds of 0.

  Args:
    cases: of conversations.
    records: of the same groups, or conversations if they have none; a person
      who stands in several records of one group counts once.
  """
  votes: dict[tuple[str, str], dict[str, int]] = {}
  for record in records:
    for member in record.members:
      for index, vote in zip(member.judged, member.votes):
        if vote:
          key = record.group or record.id, record.statements[index].text
          votes.setdefault(key, {})[member.participant] = vote
  sums = {
    key: np.array(
      [sum(v > 0 for v in given.values()), sum(v < 0 for v in given.values())]
    )
    for key, given in votes.items()
  }

  def log_odds(case: Case, statement: str) -> float:
    key = case.group or case.conversation, statement
    if key not in sums:
      return 0.0
    own = votes[key].get(case.participant, 0)
    agree, disagree = sums[key] - [own > 0, own < 0]
    return float(np.log((agree + 1) / (disagree + 1)))

  return [
    np.array([log_odds(case, each) for each in case.statements])
    for case in cases
  ]


@dataclasses.dataclass(frozen=True, eq=False)
class Embedded:
  """Frozen features of the texts of cases.

  Attributes:
    opinions: one row a case.
    statements: one row a judgement, of all cases in order.
    cases: whose each judgement is, as a place in `opinions`.
    sizes: judgements of each case.
  """

  opinions: Float[np.ndarray, 'cases embed']
  statements: Float[np.ndarray, 'judged embed']
  cases: Int[np.ndarray, 'judged']
  sizes: tuple[int, ...]

  def split(self, values: Float[np.ndarray, 'judged']) -> list[np.ndarray]:
    """Values of judgements, by case."""
    return np.split(values, np.cumsum(self.sizes)[:-1])


def embedded(embed: Embed, cases: Sequence[Case]) -> Embedded:
  """Frozen features of cases, from features of texts."""
  opinions = [case.opinion for case in cases]
  statements = [text for case in cases for text in case.statements]
  found = embed([*opinions, *statements])
  sizes = tuple(len(case.statements) for case in cases)
  return Embedded(
    opinions=found[: len(cases)],
    statements=found[len(cases) :],
    cases=np.repeat(np.arange(len(cases)), sizes),
    sizes=sizes,
  )


def cosine(texts: Embedded) -> list[np.ndarray]:
  """Cosine of the angle between opinion and statement."""
  a, b = texts.opinions[texts.cases], texts.statements
  norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
  return texts.split((a * b).sum(1) / norms)


def pair_features(texts: Embedded) -> Features:
  """[opinion, statement, product, distance], float32."""
  a, b = texts.opinions[texts.cases], texts.statements
  return np.concatenate([a, b, a * b, np.abs(a - b)], 1, dtype=np.float32)


def statement_features(texts: Embedded) -> Features:
  """The statement alone."""
  return texts.statements.astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Logistic:
  """Logistic regression on standardised features.

  Attributes:
    means: of the features it was fitted on.
    scales: their standard deviations.
    weights: of standardised features.
    intercept: log-odds at the means.
    penalty: half of which times the squared weights was added to the mean loss.
  """

  means: Float[np.ndarray, 'features']
  scales: Float[np.ndarray, 'features']
  weights: Float[np.ndarray, 'features']
  intercept: float
  penalty: float

  def log_odds(self, features: Features) -> Float[np.ndarray, 'rows']:
    """Predicted log-odds of agreeing."""
    slopes = self.weights / self.scales
    shift = self.intercept - float(self.means @ slopes)
    return features @ slopes.astype(np.float32) + np.float32(shift)


def fit(
  features: Features,
  agree: Bool[np.ndarray, 'rows'],
  groups: Int[np.ndarray, 'rows'],
  *,
  penalties: Sequence[float] = PENALTIES,
  seed: int = 0,
) -> Logistic:
  """Fits on all rows, with the penalty that is best on groups held out.

  Args:
    features: of judgements to learn from.
    agree: whether each was an agreement.
    groups: people or conversations, whichever is held out later: each is held
      out once, in one of four folds.
    penalties: to choose from; the choice is noted on standard error.
    seed: of the folds.

  Raises:
    ValueError: if all agree or all disagree.
  """
  if agree.all() or not agree.any():
    raise ValueError('needs agreements and disagreements to learn from')
  names, group = np.unique(groups, return_inverse=True)
  if len(penalties) == 1 or len(names) == 1:
    return _fit(features, agree, penalties[0])
  fold = np.random.default_rng(seed).permutation(len(names))[group] % _FOLDS
  losses = np.zeros(len(penalties))
  for each in np.unique(fold):
    held_out = fold == each
    if agree[~held_out].all() or not agree[~held_out].any():
      continue
    kept, start = features[~held_out], None
    for place, penalty in enumerate(penalties):
      fitted = start = _fit(kept, agree[~held_out], penalty, start)
      log_odds = fitted.log_odds(features[held_out])
      signed = np.where(agree[held_out], log_odds, -log_odds)
      losses[place] += np.logaddexp(0, -signed.astype(np.float64)).sum()
  best = penalties[int(losses.argmin())]
  note(f'logistic regression: penalty {best:g} of {list(penalties)}')
  return _fit(features, agree, best)


def _fit(features, agree, penalty, start: Logistic | None = None) -> Logistic:
  means = features.mean(0, dtype=np.float64)
  # No copy of the features in float64; what does not vary says nothing.
  squares = np.einsum('ij,ij->j', features, features, dtype=np.float64)
  scales = np.sqrt(np.maximum(squares / len(features) - means**2, 0))
  varies = scales > 1e-6 * np.abs(means) + 1e-12
  scales = np.where(varies, scales, np.inf)
  signs = np.where(agree, 1.0, -1.0)

  def loss(point):
    # Standardised without a copy of the features.
    slopes = point[1:] / scales
    shift = point[0] - means @ slopes
    margins = signs * (features @ slopes.astype(np.float32) + shift)
    pull = -signs * special.expit(-margins) / len(signs)
    by_feature = (pull.astype(np.float32) @ features).astype(np.float64)
    gradient = (by_feature - pull.sum() * means) / scales
    return (
      np.logaddexp(0, -margins).mean() + penalty / 2 * point[1:] @ point[1:],
      np.concatenate([[pull.sum()], gradient + penalty * point[1:]]),
    )

  point = np.zeros(features.shape[1] + 1)
  if start is not None:
    point = np.concatenate([[start.intercept], start.weights])
  found = optimize.minimize(
    loss, point, jac=True, method='L-BFGS-B', options={'maxiter': 300}
  )
  return Logistic(means, scales, found.x[1:], float(found.x[0]), penalty)
