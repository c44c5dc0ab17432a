"""The verbs that ask a model, on a tiny one and on a made-up one."""

import argparse
import json
import types

import numpy as np
import pytest
import tiny_models

from consensus_jax import question_command
from consensus_jax.data import command, questions
from consensus_jax.inference import sampler
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.strict_json import InputError

MODEL = str(tiny_models.GOLDEN / 'tiny_qwen2')


def run(*argv):
  parser = argparse.ArgumentParser(prog='consensus data')
  question_command.add_verbs(command.add_arguments(parser))
  return command.run(parser.parse_args([str(arg) for arg in argv]))


def write_bank(path, *texts):
  bank = [{'id': f'q{i}', 'question': text} for i, text in enumerate(texts)]
  path.write_text(json.dumps(bank))
  return path


@pytest.fixture
def written(monkeypatch):
  """What the sampler is asked; it answers with one question a seed."""
  calls = []

  def sample(params, config, tokenizer, prompt, **kwargs):
    calls.append((tokenizer.decode(prompt), kwargs))
    number = kwargs['seed'] % 5
    text = f' Should towns of size {number} have a mayor and a council?'
    return [sampler.Sample(text, (), 0.0, 'stop')]

  monkeypatch.setattr(sampler, 'sample', sample)
  return calls


@pytest.fixture
def model(monkeypatch):
  small = tiny_models.load('tiny_qwen2')
  roomy = types.SimpleNamespace(
    name='roomy',
    params=small.params,
    config=types.SimpleNamespace(max_length=4096),
    tokenizer=small.tokenizer,
  )
  monkeypatch.setattr(question_command, '_load', lambda path: roomy)
  return roomy


def test_new_questions_are_written(model, written, tmp_path, capsys):
  known = write_bank(
    tmp_path / 'known.json',
    'Should towns of size 1 have a mayor and a council?',
  )
  out = tmp_path / 'new.json'
  argv = ('generate_questions', '--known', known, '--seed', 3, '--out', out)
  assert run(*argv, '--num', 1) == 0
  (question,) = questions.read(out)
  assert question.text.startswith('Should towns of size ')
  assert question.text != questions.read(known)[0].text
  assert '1 of ' in capsys.readouterr().err
  prompt, how = written[0]
  assert prompt.endswith('Question:') and prompt.count('Question:') == 11
  assert how['num_candidates'] == 1 and how['max_tokens'] == 100
  assert how['stop_strings'] == ('\n',)
  sampling = how['sampling']
  assert (sampling.temperature, sampling.top_p) == (0.7, 0.95)
  assert (sampling.top_k, sampling.min_p) == (None, 0.1)
  # This sampler has five to write, of which one is known.
  assert run(*argv, '--num', 7) == 1
  assert len(questions.read(out)) == 4
  assert 'left out: ' in capsys.readouterr().err


def test_a_model_has_to_read_a_prompt(model, written, tmp_path):
  model.config.max_length = 150
  with pytest.raises(ModelFileError, match='reads 150 tokens'):
    run('generate_questions', '--num', 1, '--out', tmp_path / 'x.json')
  assert not written and not list(tmp_path.iterdir())


def test_topics_are_clusters_of_embeddings(tmp_path, capsys):
  texts = ['Should we tax sugar?', 'Should we tax sweet drinks?', 'Why war?']
  bank = write_bank(tmp_path / 'bank.json', *texts)
  out = tmp_path / 'topics.json'
  argv = ('topics', bank, '--model', MODEL, '--out', out)
  assert run(*argv, '--num_topics', 3) == 0
  assert [q.topic for q in questions.read(out)] == ['0', '1', '2']
  assert all(q.split is None for q in questions.read(out))
  assert '3 questions on 3 topics of 1 to 1' in capsys.readouterr().err
  assert run(*argv, '--num_topics', 2, '--hold_out', '--seed', 1) == 0
  grouped = questions.read(out)
  assert [q.text for q in grouped] == texts
  assert {q.topic for q in grouped} == {'0', '1'}
  assert all(q.split for q in grouped)
  # What it wrote can be grouped anew: its topics and splits are replaced.
  again = tmp_path / 'again.json'
  assert (
    run('topics', out, '--model', MODEL, '--out', again, '--num_topics', 1) == 0
  )
  assert {(q.topic, q.split) for q in questions.read(again)} == {('0', None)}
  assert 'are replaced' in capsys.readouterr().err


def test_embeddings_are_those_of_the_model(tmp_path):
  model = question_command._load(MODEL)
  rows = question_command._embed(model, ['Why?', 'Should we?'])
  assert rows.shape == (2, model.config.embed_dim)
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
  with pytest.raises(InputError, match='tokens'):
    question_command._embed(model, ['why ' * 10_000])


def test_wrong_arguments_are_named(tmp_path):
  bank = write_bank(tmp_path / 'bank.json', 'Should we tax sugar?')
  out = tmp_path / 'out.json'
  for argv, field in (
    (('generate_questions', '--num', 0), '--num'),
    (('generate_questions', '--num', 1, '--seed', -1), '--seed'),
    (('topics', bank, '--num_topics', 2), '--num_topics'),
    (('topics', bank, '--num_topics', 0), '--num_topics'),
  ):
    with pytest.raises(InputError, match=field):
      run(*argv, '--out', out)
  with pytest.raises(InputError, match='--out'):
    run('topics', bank, '--num_topics', 1, '--out', bank)
  with pytest.raises(InputError, match=r'none\.json'):
    run('topics', tmp_path / 'none.json', '--num_topics', 1, '--out', out)
  assert not out.exists()
