"""Whether what a job needs is there: its bucket and its image."""

import json
from typing import Any

from launch.job import locked_version
from launch.programs import BAD_INPUT, LaunchError, Programs, note

# Seconds for a service to answer.
ANSWER = 60.0
# `launch/Dockerfile` labels its images so.
_JAX_LABEL = 'consensus_jax.jax'


def bucket(name: str, programs: Programs) -> None:
  """Whether whoever launches may write to it; hosts are asked when set up.

  Raises:
    LaunchError: if not.
  """
  target = f'gs://{name}/.consensus_jax_write_test'
  doing = f'bucket gs://{name} cannot be written to'
  programs.run(
    ['gcloud', 'storage', 'cp', '-', target],
    stdin='x\n',
    timeout=ANSWER,
    doing=doing,
  )
  programs.run(['gcloud', 'storage', 'rm', target], timeout=ANSWER, doing=doing)


def image(name: str, programs: Programs) -> None:
  """Whether the image has the jax of requirements.lock, without pulling it.

  `launch/Dockerfile` labels its images. Without docker here it is left to the
  hosts, which ask the package itself.

  Raises:
    LaunchError: if it is not there, or has another jax.
  """
  if not programs.has('docker'):
    note(f'docker is not here: {name} is checked on the hosts only')
    return
  said = programs.run(
    ['docker', 'buildx', 'imagetools', 'inspect', name]
    + ['--format', '{{json .Image}}'],
    timeout=ANSWER,
    doing=f'image {name}',
  )
  if programs.dry_run:
    return
  wanted = locked_version('jax')
  found = _label(json.loads(said))
  if found != wanted:
    raise LaunchError(
      f'image {name} has jax {found or "of no known version"}, '
      f'requirements.lock {wanted}: build and push it again '
      '(launch/Dockerfile)',
      code=BAD_INPUT,
    )


def _label(image: dict[str, Any]) -> str | None:
  # An image, or one for each platform.
  images = [image] if 'config' in image else list(image.values())
  for each in images:
    label = (each.get('config', {}).get('Labels') or {}).get(_JAX_LABEL)
    if label:
      return label
  return None
