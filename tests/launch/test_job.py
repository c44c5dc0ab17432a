"""What a job is refused for, before anything is paid for."""

import pytest

from consensus_jax.strict_json import InputError
from launch import job as jobs
from launch.job import Job

SFT = (
  '--gin_file=runs/sft.gin',
  '--gin_file=meshes/all_devices.gin',
  "--gin.MODEL_DIR='/bucket/run'",
  "--gin.TRAIN_DATA='/bucket/examples'",
)


def job(*more, kind='sft', name='job', arguments=SFT):
  return Job(name=name, kind=kind, arguments=(*arguments, *more))


def test_a_good_job_is_not_refused():
  jobs.check(job(), num_devices=16, within='/bucket')
  jobs.check(job('--gin.settings.MeshShape.data=4'), num_devices=4)


@pytest.mark.parametrize('name', ['', 'Job', 'a_b', '-a', 'a-', '1a', 'a' * 41])
def test_names_that_some_target_would_refuse(name):
  with pytest.raises(InputError, match=r'--name: .*lower case'):
    job(name=name)


@pytest.mark.parametrize(
  ('more', 'devices', 'message'),
  [
    (('--gin.MODEL_DIRR=1',), 1, 'MODEL_DIRR'),
    (('--gin.NUM_STEPS=-1',), 1, 'num_steps'),
    (('--gin_flie=x',), 1, 'gin_flie'),
    (('--gin_file=runs/absent.gin',), 1, 'absent'),
    (('--coordinator=a:1',), 1, 'coordinator'),
    (('--gin_file=meshes/eight_devices.gin',), 16, r'mesh: .*not make 16 dev'),
    (('--gin.BATCH_SIZE=24',), 16, 'BATCH_SIZE: 24 rows do not divide among'),
    (("--gin.MODEL_DIR='/tmp/run'",), 1, r'MODEL_DIR: /tmp/run would be gone'),
    (("--gin.MODEL_DIR='/bucket2/run'",), 1, 'would be gone'),
    (("--gin.TRAIN_DATA='data'",), 1, 'TRAIN_DATA: data would be gone'),
  ],
)
def test_what_would_fail_later_is_refused_now(more, devices, message):
  with pytest.raises(InputError, match=message):
    jobs.check(job(*more), num_devices=devices, within='/bucket')


def test_the_kind_and_the_file_belong_together():
  with pytest.raises(InputError, match='RewardRun'):
    jobs.check(job(kind='reward_model'))
  with pytest.raises(InputError, match='no kind of job'):
    job(kind='rl')


def test_a_file_that_only_the_job_can_read_is_left_to_it():
  jobs.check(job('--gin_file=/bucket/mine.gin'), within='/bucket')
  with pytest.raises(InputError, match=r'mine\.gin would be gone'):
    jobs.check(job('--gin_file=mine.gin'), within='/bucket')


OUTCOMES = ('/bucket/in.jsonl', '--out=/bucket/out.jsonl', '--seed=3')


def test_outcomes_have_a_part_for_each_process():
  files = jobs.outcome_files(job(kind='rank', arguments=OUTCOMES))
  assert (files.file, files.out) == ('/bucket/in.jsonl', '/bucket/out.jsonl')
  assert files.others == ('/bucket/in.jsonl', '--seed=3')
  assert files.part(1, 4) == '/bucket/out.jsonl.1-of-4'


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('in.jsonl',), '--out: is missing'),
    (('/bucket/in.jsonl', '--out', 'out'), '--out: out would be gone'),
    (('-', '--out', '/bucket/o'), 'every process can read'),
    ((*OUTCOMES, '--shard=0/2'), '--shard: is for one process'),
    ((*OUTCOMES, '--report=a.html'), '--report: is for one process'),
  ],
)
def test_outcomes_that_processes_cannot_share_are_refused(arguments, message):
  with pytest.raises(InputError, match=message):
    jobs.check(job(kind='deliberate', arguments=arguments), within='/bucket')


def test_every_target_starts_the_same_worker():
  command = job().worker('gke', '--writable=/bucket')
  assert command[:4] == ['python', '-m', 'launch.worker', '--place=gke']
  assert f'--jax={jobs.locked_version("jax")}' in command
  assert command[-5:] == ['sft', *SFT]
