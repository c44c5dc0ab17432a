"""Sampling: what is drawn, when it stops and what it does not depend on."""

import contextlib
import dataclasses
import functools

import jax
import numpy as np
import pytest
import tiny_models

from consensus_jax import partitioning
from consensus_jax.inference import sampler
from consensus_jax.inference.sampler import Sampling
from consensus_jax.model import transformer

GREEDY = Sampling(temperature=0.0)
FREE = Sampling()
SMALL = dataclasses.replace(
  tiny_models.SMALL, num_heads=8, num_kv_heads=4, embed_dim=32, mlp_dim=48
)


def draw(
  model, prompt, num_candidates=4, max_tokens=8, sampling=FREE, **kwargs
):
  """Samples of (config, params, tokenizer) with seed 0."""
  config, params, tokenizer = model
  return sampler.sample(
    params,
    config,
    tokenizer,
    prompt,
    **{
      'num_candidates': num_candidates,
      'max_tokens': max_tokens,
      'sampling': sampling,
      'seed': 0,
      **kwargs,
    },
  )


@functools.cache
def golden_model(name='tiny_llama'):
  model = tiny_models.load(name)
  return model.config, model.params, tiny_models.endless(model.tokenizer)


@functools.cache
def small():
  """Random, with a tokenizer whose texts nobody reads."""
  tokenizer = golden_model()[2]
  return SMALL, tiny_models.random_params(SMALL), tokenizer


def prompt_of(length, seed=0):
  return np.random.default_rng(seed).integers(0, 200, length).tolist()


def tokens_of(samples):
  return [each.tokens for each in samples]


def log_likelihood(model, prompt, tokens):
  config, params, _ = model
  log_probs = tiny_models.plain_log_probs(params, config, [*prompt, *tokens])
  start = len(prompt) - 1
  return sum(log_probs[start + i, token] for i, token in enumerate(tokens))


# What is drawn


@pytest.mark.parametrize('name', tiny_models.FAMILIES)
def test_greedy_continuations_are_those_of_transformers(name):
  golden = tiny_models.golden(name)
  for ids, expected in zip(golden['input_ids'], golden['greedy_ids']):
    samples = draw(golden_model(name), ids.tolist(), 2, 64, GREEDY)
    assert tokens_of(samples) == [tuple(expected.tolist())] * 2


@pytest.mark.slow
def test_greedy_continuation_of_the_embedded_model_is_that_of_transformers():
  model, golden = tiny_models.load('smollm2'), tiny_models.golden('smollm2')
  params = tiny_models.unstacked('smollm2')
  tokenizer = tiny_models.endless(model.tokenizer)
  prompt = golden['input_ids'].tolist()
  (sample,) = draw((model.config, params, tokenizer), prompt, 1, 64, GREEDY)
  assert sample.tokens == tuple(golden['greedy_ids'].tolist())


# Around the borders of the buckets 32, 48 and 64.
@pytest.mark.parametrize('length', [1, 32, 33, 48, 49])
def test_decoding_equals_teacher_forcing(length):
  model, prompt = small(), prompt_of(length)
  config, params, _ = model
  for sampling in (GREEDY, Sampling(temperature=2.0, top_p=0.8)):
    samples = draw(model, prompt, 2, 20, sampling)
    for sample in samples:
      assert len(sample.tokens) == 20
      expected = log_likelihood(model, prompt, sample.tokens)
      # Of the model itself, before temperature and filters.
      assert sample.log_likelihood == pytest.approx(expected, abs=1e-3)
    if sampling is GREEDY:
      log_probs = tiny_models.plain_log_probs(
        params, config, [*prompt, *samples[0].tokens]
      )
      likeliest = log_probs[length - 1 : -1].argmax(-1)
      assert samples[0].tokens == tuple(likeliest.tolist())


def test_a_candidate_is_the_same_alone_or_among_others():
  prompt = prompt_of(40)
  model, few = small(), []
  for num_candidates in (1, 4, 16):
    samples = draw(model, prompt, num_candidates, 40)
    assert tokens_of(samples)[: len(few)] == few
    few = tokens_of(samples)
  assert len(set(few)) == 16


def test_stacked_and_unstacked_parameters_give_the_same_text():
  config, params, tokenizer = small()
  prompt = prompt_of(40)
  unstacked = transformer.unstack_layers(params)
  first = draw((config, params, tokenizer), prompt, 4, 40)
  second = draw((config, unstacked, tokenizer), prompt, 4, 40)
  assert tokens_of(first) == tokens_of(second)
  for one, other in zip(first, second):
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-3)


def test_the_seed_decides():
  model, prompt = small(), prompt_of(40)
  first = draw(model, prompt, 4, 40, seed=3)
  assert draw(model, prompt, 4, 40, seed=3) == first
  other = draw(model, prompt, 4, 40, seed=4)
  # No candidate of one seed is one of another.
  assert not set(tokens_of(first)) & set(tokens_of(other))
  # A greedy text has no seed.
  assert draw(model, prompt, 2, 20, GREEDY, seed=1) == draw(
    model, prompt, 2, 20, GREEDY, seed=2
  )


def test_a_longer_text_begins_with_the_shorter():
  """Across budgets that are no multiple of what is allocated or looked at."""
  model, prompt = small(), prompt_of(40)
  longest = draw(model, prompt, 4, 64)
  for max_tokens in (1, 2, 15, 16, 17, 31, 32, 33):
    samples = draw(model, prompt, 4, max_tokens)
    for sample, longer in zip(samples, longest):
      assert sample.tokens == longer.tokens[:max_tokens]
      assert sample.finish_reason == 'length'


@functools.cache
def without_a_mesh():
  return tokens_of(draw(small(), prompt_of(40), 16, 40))


@pytest.mark.parametrize(
  'mesh, num_candidates',
  [
    ((8, 1, 1), 16),
    ((4, 1, 2), 16),
    ((2, 1, 4), 16),
    ((2, 2, 2), 16),
    # Three candidates are not split over eight devices.
    ((4, 2, 1), 3),
  ],
  ids=str,
)
def test_every_mesh_draws_the_same_tokens(mesh, num_candidates):
  config, params, tokenizer = small()
  mesh = partitioning.make_mesh(*mesh)
  params = jax.device_put(params, transformer.param_shardings(config, mesh))
  assert len(params['embedding'].devices()) == 8
  with jax.set_mesh(mesh):
    samples = draw(
      (config, params, tokenizer), prompt_of(40), num_candidates, 40
    )
  assert tokens_of(samples) == without_a_mesh()[:num_candidates]


def test_bfloat16_is_drawn_from_as_float32():
  """Log-likelihoods stay float32 and near those of the float32 model."""
  config, params, tokenizer = golden_model()
  narrow = tiny_models.load('tiny_llama', 'bfloat16').params
  prompt = prompt_of(30)
  model = config, params, tokenizer
  for sample in draw((config, narrow, tokenizer), prompt, 4, 24):
    expected = log_likelihood(model, prompt, sample.tokens)
    assert sample.log_likelihood == pytest.approx(expected, abs=24 * 0.1)
    assert sample.log_likelihood != pytest.approx(expected, abs=1e-5)


# When it stops


def test_an_end_token_ends_a_text():
  config, params, tokenizer = small()
  prompt = prompt_of(40)
  free = draw((config, params, tokenizer), prompt, 16, 40)
  texts = tokens_of(free)
  # Ends early, late and at once; the fourth text never ends.
  early, late, at_once = (
    next(t for t in tokens[start:] if t not in texts[3])
    for tokens, start in ((texts[0], 3), (texts[1], 20), (texts[2], 0))
  )
  ends = {early, late, at_once}
  stopping = dataclasses.replace(tokenizer, eos_ids=tuple(sorted(ends)))
  samples = draw((config, params, stopping), prompt, 16, 40)
  reasons = set()
  for sample, tokens in zip(samples, texts):
    length = min((tokens.index(e) for e in ends if e in tokens), default=40)
    assert sample.tokens == tokens[:length]
    assert sample.finish_reason == ('stop' if length < 40 else 'length')
    # Only of the tokens that are kept: without that of the end.
    expected = log_likelihood((config, params, None), prompt, sample.tokens)
    assert sample.log_likelihood == pytest.approx(expected, abs=1e-3)
    assert sample.text == tokenizer.decode(sample.tokens)
    reasons.add(sample.finish_reason)
  assert reasons == {'stop', 'length'}


def test_a_text_may_be_empty():
  config, params, tokenizer = tiny_models.scripted('a', 'b', 'c')
  stopping = dataclasses.replace(tokenizer, eos_ids=(0, 2))
  (sample,) = draw((config, params, stopping), [2], 1, 9, GREEDY)
  assert sample == sampler.Sample('', (), 0.0, 'stop')


def test_steps_end_when_all_texts_have_ended():
  config, params, tokenizer = tiny_models.scripted('a', 'b', 'c', 'd', 'e')
  stopping = dataclasses.replace(tokenizer, eos_ids=(3,))
  steps = []
  samples = draw(
    (config, params, stopping),
    [4],
    3,
    500,
    GREEDY,
    progress=lambda done, total: steps.append((done, total)),
  )
  assert [sample.text for sample in samples] == ['abc'] * 3
  assert {total for _, total in steps} == {500}
  counts = [done for done, _ in steps]
  assert counts == sorted(counts) and counts[-1] == 4


def test_progress_reaches_the_end():
  steps = []
  draw(small(), prompt_of(40), 4, 41, progress=lambda *step: steps.append(step))
  counts = [done for done, _ in steps]
  assert counts == sorted(counts) and counts[-1] == 41
  # Often enough for a progress bar.
  assert len(set(counts)) >= 3


def stop_at(stop_strings, *pieces, max_tokens=None, **kwargs):
  """What is left of a text of these pieces."""
  config, params, tokenizer = tiny_models.scripted(*pieces)
  (sample,) = draw(
    (config, params, tokenizer),
    [len(pieces) - 1],
    1,
    max_tokens or len(pieces),
    GREEDY,
    stop_strings=stop_strings,
    **kwargs,
  )
  full = list(range(len(pieces)))
  assert list(sample.tokens) == full[: len(sample.tokens)]
  model = config, params, tokenizer
  assert sample.log_likelihood == pytest.approx(
    log_likelihood(model, [len(pieces) - 1], sample.tokens), abs=1e-5
  )
  return sample.text, len(sample.tokens), sample.finish_reason


NUMBERS = tuple(f'{i} ' for i in range(40))


@pytest.mark.parametrize(
  'stop_strings, pieces, expected',
  [
    # A token of its own.
    (['\n\n'], ('We', ' agree', '.', '\n\n', 'Q'), ('We agree.', 3, 'stop')),
    # Across tokens, whole.
    (['\nQ:'], ('We', '.', '\n', 'Q', ':', 'x'), ('We.', 2, 'stop')),
    # From within a token into another: the token's start is text, but the
    # token is not one of the text's.
    (['\nQ:'], ('We', '.\n', 'Q: x', 'y'), ('We.', 1, 'stop')),
    # In the middle of one token.
    (['STOP'], ('a', 'bSTOPc', 'd'), ('ab', 1, 'stop')),
    # White space at the start is no stop, the same further on is one.
    (['\n\n'], ('\n', '\n ', ' \n\n', 'We', '\n\n'),
     ('\n\n  \n\nWe', 4, 'stop')),
    # At the very beginning, after white space: nothing is left but that.
    (['Q:'], ('\n ', 'Q', ':', ' x'), ('\n ', 1, 'stop')),
    (['Q:'], ('Q', ':', ' x'), ('', 0, 'stop')),
    # The first of several, whatever their order.
    (['B', 'A'], ('x', 'A', 'y', 'B'), ('x', 1, 'stop')),
    (['A', 'B'], ('x', 'B', 'y', 'A'), ('x', 1, 'stop')),
    # Several tokens and several looks before the end of the text.
    (['3 4 '], NUMBERS, ('0 1 2 ', 3, 'stop')),
    (['19 20'], NUMBERS, (''.join(NUMBERS[:19]), 19, 'stop')),
    (['38 39 '], NUMBERS, (''.join(NUMBERS[:38]), 38, 'stop')),
    # None at all, or only a part of one at the end.
    (['Z'], NUMBERS, (''.join(NUMBERS), 40, 'length')),
    (['39 !'], NUMBERS, (''.join(NUMBERS), 40, 'length')),
    ([], NUMBERS, (''.join(NUMBERS), 40, 'length')),
  ],
)  # fmt: skip
def test_a_stop_string_cuts_a_text(stop_strings, pieces, expected):
  assert stop_at(stop_strings, *pieces) == expected


def test_an_end_token_before_a_stop_string_and_after_it():
  config, params, tokenizer = tiny_models.scripted('a', 'STOP', 'b', 'c', 'd')
  for end, expected in ((2, 'a'), (0, '')):
    stopping = dataclasses.replace(tokenizer, eos_ids=(end,))
    (sample,) = draw(
      (config, params, stopping), [4], 1, 9, GREEDY, stop_strings=['STOP']
    )
    assert (sample.text, sample.finish_reason) == (expected, 'stop')


@pytest.mark.parametrize('max_tokens', [1, 2, 3, 4])
def test_a_stop_string_that_is_not_written_out_is_text(max_tokens):
  text, number, reason = stop_at(
    ['\r\nQ'], 'a', '\r', '\n', 'Q', max_tokens=max_tokens
  )
  if max_tokens < 4:
    expected = ('a\r\n'[:max_tokens], max_tokens, 'length')
  else:
    expected = ('a', 1, 'stop')
  assert (text, number, reason) == expected


@pytest.mark.parametrize(
  'pieces, expected',
  [
    (('One.', ' Two', '!', ' Thr'), ('One. Two!', 3)),
    (('One.', ' Two', '?"', ' Thr'), ('One. Two?"', 3)),
    # The token that ends beyond the sentence is not one of the text's.
    (('One.', ' Two. Th', 'ree'), ('One. Two.', 1)),
    # A point inside a number or a name ends nothing.
    (('One.', ' It is', ' 3', '.5'), ('One.', 1)),
    (('No end', ' in', ' sight'), ('No end in sight', 3)),
    (('All', ' said', '.'), ('All said.', 3)),
    (('我们同意。', '我们'), ('我们同意。我们', 2)),
  ],
)
def test_whole_sentences_cut_what_the_budget_cut(pieces, expected):
  text, number, reason = stop_at([], *pieces, whole_sentences=True)
  assert (text, number, reason) == (*expected, 'length')


def test_whole_sentences_leave_alone_what_ended_by_itself():
  pieces = ('One.', ' Tw', 'STOP', 'x')
  assert stop_at(['STOP'], *pieces, whole_sentences=True) == (
    'One. Tw',
    2,
    'stop',
  )
  config, params, tokenizer = tiny_models.scripted('One.', ' Tw', 'x')
  stopping = dataclasses.replace(tokenizer, eos_ids=(2,))
  (sample,) = draw(
    (config, params, stopping), [2], 1, 9, GREEDY, whole_sentences=True
  )
  assert (sample.text, sample.finish_reason) == ('One. Tw', 'stop')


# What it refuses, and what it costs


@pytest.mark.parametrize('length, max_tokens', [(100, 29), (128, 1), (1, 128)])
def test_refuses_what_exceeds_the_context(length, max_tokens):
  config, params, tokenizer = small()
  config = dataclasses.replace(config, max_length=128)
  with pytest.raises(ValueError, match='context of 128 by 1'):
    draw((config, params, tokenizer), [1] * length, 1, max_tokens)


@pytest.mark.parametrize('length, max_tokens', [(127, 1), (1, 127)])
def test_the_whole_context_can_be_used(length, max_tokens):
  config, params, tokenizer = small()
  model = dataclasses.replace(config, max_length=128), params, tokenizer
  prompt = prompt_of(length)
  (sample,) = draw(model, prompt, 1, max_tokens)
  assert len(sample.tokens) == max_tokens
  expected = log_likelihood(model, prompt, sample.tokens)
  assert sample.log_likelihood == pytest.approx(expected, abs=2e-3)


def test_refuses_a_prompt_without_tokens():
  with pytest.raises(ValueError, match='no tokens'):
    draw(small(), [])


@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('max_tokens', [1, 40])
def test_refuses_logits_that_are_not_finite(bad, max_tokens):
  config, params, tokenizer = small()
  layers = {**params['layers'], 'up': params['layers']['up'] * bad}
  with pytest.raises(FloatingPointError, match='not finite'):
    draw(
      (config, {**params, 'layers': layers}, tokenizer),
      prompt_of(40),
      4,
      max_tokens,
    )


@pytest.mark.parametrize(
  'field, value',
  [
    ('temperature', -0.1),
    ('temperature', float('nan')),
    ('temperature', float('inf')),
    ('top_p', 0.0),
    ('top_p', 1.1),
    ('top_p', float('nan')),
    ('top_k', 0),
    ('min_p', -0.1),
    ('min_p', 1.5),
    ('no_repeat_ngram_size', 1),
    ('no_copy_ngram_size', 1),
  ],
)
def test_refuses_settings_out_of_range(field, value):
  with pytest.raises(ValueError, match=field):
    Sampling(**{field: value})


_COMPILATIONS = []
jax.monitoring.register_event_duration_secs_listener(
  lambda event, *_, **__: (
    _COMPILATIONS.append(event)
    if event == '/jax/core/compile/backend_compile_duration'
    else None
  )
)


@contextlib.contextmanager
def compilations():
  """A list that holds, at the end, an entry for each program compiled."""
  before, found = len(_COMPILATIONS), []
  yield found
  found += _COMPILATIONS[before:]


def test_what_is_like_before_does_not_compile_again():
  config = dataclasses.replace(SMALL, mlp_dim=52)  # no other test has it
  model = config, tiny_models.random_params(config), golden_model()[2]
  with compilations() as first:
    draw(model, prompt_of(50), 4, 32)
  assert first
  with compilations() as again:
    draw(model, prompt_of(64), 4, 32, seed=5)
    draw(model, prompt_of(49), 4, 32, Sampling(temperature=0.3, top_k=7))
    draw(model, prompt_of(60), 4, 32, Sampling(top_p=0.5, min_p=0.1))
    draw(model, prompt_of(60), 4, 32, Sampling(no_copy_ngram_size=2**31))
  assert not again
