"""The schema of a JobSet, jobset.x-k8s.io/v1alpha2, as far as we use it.

Written from jobset_types.go (kubernetes-sigs/jobset): fields, their types,
which are required, and what they may be; nothing else is allowed. The Jobs
within are Kubernetes' own, and validated by its schema.
"""

_LABELS = {'type': 'object', 'additionalProperties': {'type': 'string'}}

# Annotated metadata of an object that is made from this.
_METADATA = {
  'type': 'object',
  'additionalProperties': False,
  'properties': {
    'name': {
      'type': 'string',
      'pattern': '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
      'maxLength': 63,
    },
    'namespace': {'type': 'string'},
    'labels': _LABELS,
    'annotations': _LABELS,
  },
}

_FAILURE_RULE = {
  'type': 'object',
  'additionalProperties': False,
  'required': ['name', 'action'],
  'properties': {
    'name': {
      'type': 'string',
      'pattern': '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$',
      'minLength': 1,
      'maxLength': 128,
    },
    'action': {
      'enum': [
        'FailJobSet',
        'RestartJobSet',
        'RestartJobSetAndIgnoreMaxRestarts',
        'RestartJob',
        'RestartJobAndIgnoreMaxRestarts',
      ]
    },
    'onJobFailureReasons': {
      'type': 'array',
      'items': {
        'enum': [
          'BackoffLimitExceeded',
          'DeadlineExceeded',
          'FailedIndexes',
          'MaxFailedIndexesExceeded',
          'PodFailurePolicy',
        ]
      },
    },
    'targetReplicatedJobs': {'type': 'array', 'items': {'type': 'string'}},
  },
}

SCHEMA = {
  '$schema': 'https://json-schema.org/draft/2020-12/schema',
  'type': 'object',
  'additionalProperties': False,
  'required': ['apiVersion', 'kind', 'metadata', 'spec'],
  'properties': {
    'apiVersion': {'const': 'jobset.x-k8s.io/v1alpha2'},
    'kind': {'const': 'JobSet'},
    'metadata': {**_METADATA, 'required': ['name']},
    'spec': {
      'type': 'object',
      'additionalProperties': False,
      'properties': {
        'suspend': {'type': 'boolean'},
        'ttlSecondsAfterFinished': {'type': 'integer', 'minimum': 0},
        'failurePolicy': {
          'type': 'object',
          'additionalProperties': False,
          'properties': {
            'maxRestarts': {'type': 'integer', 'minimum': 0},
            'restartStrategy': {
              'enum': ['Recreate', 'BlockingRecreate', 'InPlaceRestart']
            },
            'rules': {
              'type': 'array',
              'maxItems': 20,
              'items': _FAILURE_RULE,
            },
          },
        },
        'replicatedJobs': {
          'type': 'array',
          'minItems': 1,
          'items': {
            'type': 'object',
            'additionalProperties': False,
            'required': ['name', 'template'],
            'properties': {
              'name': {
                'type': 'string',
                'pattern': '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
              },
              'replicas': {'type': 'integer', 'minimum': 0},
              'template': {
                'type': 'object',
                'additionalProperties': False,
                'required': ['spec'],
                'properties': {
                  'metadata': _METADATA,
                  'spec': {'type': 'object'},
                },
              },
            },
          },
        },
      },
    },
  },
}
