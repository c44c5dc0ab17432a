"""Jobs on TPU VMs: created, set up, run on all hosts, resumed, deleted."""

import argparse
import pathlib
import re
import shlex
import time
from collections.abc import Mapping

from consensus_jax.training import topologies
from consensus_jax.training.distributed import LOST
from launch import checks, tpu_slice
from launch import job as jobs
from launch.programs import BAD_INPUT, LaunchError, Programs
from launch.tpu_slice import (
  Slice,
  create_command,
  delete,
  docker_run,
  on_host,
  ssh_command,
  state,
  wait_until_active,
  worker_command,
)

VERBS = ('all', 'create', 'run', 'watch', 'resume', 'stop', 'status')
VERBS_WITHOUT_JOB = ('logs', 'delete')

_SETUP = pathlib.Path(__file__).with_name('tpu_vm_setup.sh')

# Seconds to pull the image.
_SET_UP = 1200.0
# Looks in a row that may fail, as networks do.
_FAILURES = 5
# What another start would not mend: bad input, divergence, bad checkpoints.
FINAL_CODES = (1, 2, 3, 4)


def add_options(parser: argparse.ArgumentParser) -> None:
  """Declares what a job on a slice is told."""
  tpu_slice.add_options(parser)
  parser.add_argument(
    '--quota_project',
    metavar='NAME',
    help='whose quota the requests of gcloud count against',
  )
  parser.add_argument('--service_account', metavar='EMAIL', help='of the hosts')
  parser.add_argument(
    '--slice', metavar='NAME', help='of the TPU (default: that of the job)'
  )
  parser.add_argument(
    '--wait',
    type=float,
    default=3600,
    metavar='SECONDS',
    help='until the slice must be there (default: 3600)',
  )
  parser.add_argument(
    '--resumes',
    type=int,
    default=10,
    metavar='N',
    help='after how many preemptions to go on (default: 10)',
  )
  parser.add_argument(
    '--keep', action='store_true', help='do not delete the slice at the end'
  )
  parser.add_argument(
    '--worker', default='0', metavar='N', help="whose logs; 'all' for all"
  )


def run_verb(
  args: argparse.Namespace, job: jobs.Job, programs: Programs
) -> int:
  """Does what a verb says; returns the exit code."""
  tpu = Slice(
    name=args.slice or job.name,
    project=args.project,
    zone=args.zone,
    topology=topologies.parse(args.topology),
    image=args.image,
    bucket=tpu_slice.bucket_name(args.bucket),
    capacity=args.capacity,
    quota_project=args.quota_project,
    service_account=args.service_account,
    wait=args.wait,
  )
  if args.verb == 'all':
    return whole_job(tpu, job, programs, resumes=args.resumes, keep=args.keep)
  if args.verb == 'create':
    check(tpu, job, programs)
    create(tpu, programs)
  elif args.verb == 'run':
    check_job(tpu, job)
    start(tpu, job, programs)
  elif args.verb == 'watch':
    return watch(tpu, job, programs, args.resumes)
  elif args.verb == 'resume':
    check(tpu, job, programs)
    resume(tpu, job, programs)
  elif args.verb == 'stop':
    stop(tpu, job, programs)
  elif args.verb == 'status':
    programs.note(f'{tpu.name}: {state(tpu, programs) or "there is none"}')
    for host, said in sorted(status(tpu, job, programs).items()):
      print(f'host {host}: {said}')
  elif args.verb == 'logs':
    return logs(tpu, job.name, args.worker, programs)
  else:
    delete(tpu, programs)
  return 0


def check_job(tpu: Slice, job: jobs.Job) -> None:
  """Refuses a job that could not run on the slice.

  Raises:
    InputError: naming the setting.
  """
  jobs.check(job, num_devices=tpu.topology.num_chips, within=jobs.BUCKET_FOLDER)


def check(tpu: Slice, job: jobs.Job, programs: Programs) -> None:
  """Everything that can be known before a slice is asked for.

  Raises:
    InputError: if the job could not run on it.
    LaunchError: naming the project, zone, bucket or image that does not do.
  """
  check_job(tpu, job)
  asked = [
    (
      f'project {tpu.project}',
      ['gcloud', 'projects', 'describe', tpu.project, '--format=value(name)'],
    ),
    (
      f'{tpu.accelerator_type} in {tpu.zone}',
      ['gcloud', 'compute', 'tpus', 'accelerator-types', 'describe']
      + [tpu.accelerator_type, *tpu.where],
    ),
    (
      f'runtime {tpu.runtime} in {tpu.zone}',
      ['gcloud', 'compute', 'tpus', 'versions', 'describe', tpu.runtime]
      + [*tpu.where],
    ),
  ]
  for doing, argv in asked:
    programs.run(argv, timeout=checks.ANSWER, doing=doing)
  checks.bucket(tpu.bucket, programs)
  checks.image(tpu.image, programs)


def create(tpu: Slice, programs: Programs) -> None:
  """Asks for the slice, waits for it and sets it up.

  Whatever goes wrong, and on Ctrl-C too, what has come into being is deleted.

  Raises:
    LaunchError: if it did not come to be; says what is left of it, if anything.
  """
  before = state(tpu, programs)
  if before is not None:
    raise LaunchError(
      f'there is a queued resource {tpu.name} already, {before}: `resume` goes '
      'on with it, `delete` deletes it, or choose another --name',
      code=BAD_INPUT,
    )
  try:
    programs.run(create_command(tpu), doing=f'creating {tpu.name}')
    wait_until_active(tpu, programs)
    set_up(tpu, programs)
  except BaseException as error:
    why = str(error) or type(error).__name__
    programs.note(f'{tpu.name} was not completed, so it is deleted: {why}')
    delete(tpu, programs)
    raise
  programs.note(f'{tpu.name} is there, and costs until it is deleted')


def on_all_hosts(
  tpu: Slice, script: str, done: str, programs: Programs, timeout: float
) -> None:
  """Runs a script on every host at once.

  Args:
    tpu: the slice.
    script: for bash.
    done: what each host has to say, after 'worker N ', for it to count.
    programs: runs gcloud.
    timeout: seconds.

  Raises:
    LaunchError: naming the hosts that did not say so.
  """
  script = on_host(f'{script.strip()}\necho "worker $WORKER {done}"')
  try:
    said = programs.run(ssh_command(tpu, script), timeout=timeout)
    failure = None
  except LaunchError as error:
    said, failure = error.output, error
  if programs.dry_run:
    return
  there = set(re.findall(rf'worker (\d+) {re.escape(done)}', said))
  missing = [str(n) for n in range(tpu.num_hosts) if str(n) not in there]
  if missing:
    why = f'{failure}; ' if failure else ''
    raise LaunchError(
      f'{tpu.name}: not every host {done}: {why}no word of it from host '
      f'{", ".join(missing)} of {tpu.num_hosts}, counted from 0'
    )


def set_up(tpu: Slice, programs: Programs) -> None:
  """Mounts the bucket and pulls the image, on all hosts.

  Raises:
    LaunchError: naming the hosts where that failed.
  """
  on_all_hosts(tpu, '', 'is here', programs, checks.ANSWER)
  values = {
    'IMAGE': tpu.image,
    'BUCKET': tpu.bucket,
    'FOLDER': jobs.BUCKET_FOLDER,
  }
  given = '\n'.join(f'{k}={shlex.quote(v)}' for k, v in values.items())
  script = f'{given}\n{_SETUP.read_text(encoding="utf-8")}'
  on_all_hosts(tpu, script, 'is set up', programs, _SET_UP)


def start(tpu: Slice, job: jobs.Job, programs: Programs) -> None:
  """Starts the job on all hosts, after they have all found each other.

  Raises:
    LaunchError: naming the hosts that did not come, or could not do it.
  """
  container = docker_run(tpu, job)
  check_script = shlex.join(
    ['sudo', 'docker', 'run', '--rm', *container]
    + [*worker_command(tpu, job, '--check_only')]
  )
  seconds = checks.ANSWER + job.start_timeout
  on_all_hosts(tpu, check_script, 'is ready', programs, seconds)
  named = ['--detach', f'--name={job.name}']
  # SIGTERM, and time to save, before a machine goes.
  named.append('--stop-timeout=120')
  lines = [
    f'sudo docker rm --force {job.name} > /dev/null 2>&1 || true',
    shlex.join(
      ['sudo', 'docker', 'run', *named, *container, *worker_command(tpu, job)]
    )
    + ' > /dev/null',
  ]
  on_all_hosts(tpu, '\n'.join(lines), 'is running', programs, checks.ANSWER)
  programs.note(f'{job.name} runs on {tpu.num_hosts} hosts of {tpu.name}')


def status(tpu: Slice, job: jobs.Job, programs: Programs) -> dict[int, str]:
  """What docker says of the job on each host: 'running 0', 'exited 5'."""
  form = '{{.State.Status}} {{.State.ExitCode}}'
  script = on_host(
    f"what=\"$(sudo docker inspect --format '{form}' {job.name} 2> /dev/null "
    '|| echo absent 0)"\necho "worker $WORKER job $what"'
  )
  said = programs.run(
    ssh_command(tpu, script),
    timeout=checks.ANSWER,
    doing=f'status of {job.name}',
  )
  found = re.findall(r'worker (\d+) job (\w+ \d+)', said)
  return {int(worker): what for worker, what in found}


def watch(tpu: Slice, job: jobs.Job, programs: Programs, resumes: int) -> int:
  """Follows the job to its end, and resumes it after preemptions.

  Args:
    tpu: the slice.
    job: that was started on it.
    programs: runs gcloud.
    resumes: how often at most.

  Returns:
    The job's exit code.

  Raises:
    LaunchError: if it cannot be resumed, or not again.
  """
  failures = 0
  while True:
    try:
      now = state(tpu, programs)
      hosts = status(tpu, job, programs) if now == 'ACTIVE' else {}
      failures = 0
    except LaunchError as error:
      failures += 1
      if failures > _FAILURES:
        raise
      programs.note(str(error))
      time.sleep(tpu_slice.POLL)
      continue
    if programs.dry_run:
      status(tpu, job, programs)
      return 0
    code = verdict(hosts, tpu.num_hosts) if now == 'ACTIVE' else LOST
    if code is None:
      time.sleep(tpu_slice.POLL)
      continue
    if code in (0, *FINAL_CODES):
      return code
    if resumes <= 0:
      raise LaunchError(
        f'{job.name} has stopped, with {code}, and {tpu.name} is '
        f'{now or "gone"}; `resume` goes on with it',
        code=code,
      )
    resumes -= 1
    programs.note(
      f'{job.name} has stopped, with {code}, and {tpu.name} is '
      f'{now or "gone"}: resuming, {resumes} more times if need be'
    )
    resume(tpu, job, programs)


def verdict(hosts: Mapping[int, str], num_hosts: int) -> int | None:
  """The exit code of a job, from what `status` says; None if it is under way.

  A host that does not know the job has started anew, and lost it.
  """
  codes = [
    int(code)
    for what, code in map(str.split, hosts.values())
    if what == 'exited'
  ]
  final = [code for code in codes if code in FINAL_CODES]
  if final:
    return final[0]
  if any(said.startswith('running') for said in hosts.values()):
    return None
  if len(codes) == num_hosts and not any(codes):
    return 0
  return next((code for code in codes if code), LOST)


def resume(tpu: Slice, job: jobs.Job, programs: Programs) -> None:
  """Goes on with a job whose slice, or whose processes, are gone.

  Raises:
    LaunchError: if the slice does not come back.
  """
  now = state(tpu, programs)
  if now in tpu_slice.GONE:
    # A suspended queued resource is not tried again by itself.
    delete(tpu, programs)
    now = None
  if now is None:
    create(tpu, programs)
  else:
    wait_until_active(tpu, programs)
    set_up(tpu, programs)  # Hosts that started anew have no bucket mounted.
  start(tpu, job, programs)


def stop(tpu: Slice, job: jobs.Job, programs: Programs) -> None:
  """Stops the job, which saves; the slice stays."""
  on_all_hosts(
    tpu,
    f'sudo docker stop --time=120 {job.name} > /dev/null 2>&1 || true',
    'has stopped',
    programs,
    checks.ANSWER + 120,
  )


def logs(tpu: Slice, name: str, worker: str, programs: Programs) -> int:
  """Follows what a host's process says, or all hosts'."""
  script = f'sudo docker logs --follow --tail=200 {name}'
  return programs.follow(ssh_command(tpu, script, worker))


def whole_job(
  tpu: Slice, job: jobs.Job, programs: Programs, *, resumes: int, keep: bool
) -> int:
  """From nothing to the job's end; the slice is deleted whatever happens.

  Returns:
    The job's exit code.
  """
  check(tpu, job, programs)
  create(tpu, programs)
  try:
    start(tpu, job, programs)
    return watch(tpu, job, programs, resumes)
  finally:
    if keep:
      programs.note(f'{tpu.name} stays, and costs; `delete` deletes it')
    else:
      delete(tpu, programs)
