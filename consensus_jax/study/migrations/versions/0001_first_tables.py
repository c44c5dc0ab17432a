"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None


def upgrade() -> None:
  """To this version."""
  op.create_table(
    'admin_sessions',
    sa.Column('token_sha256', sa.Text(), nullable=False),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.Column('expires_at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('token_sha256', name=op.f('pk_admin_sessions')),
  )
  op.create_table(
    'admins',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('password_hash', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_admins')),
  )
  op.create_table(
    'groups',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('condition', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.Column('ended_at', sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_groups')),
  )
  op.create_table(
    'participants',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('token_sha256', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('entry', sa.Text(), nullable=False),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.Column('last_seen', sa.Float(), nullable=False),
    sa.Column('step_key', sa.Text(), nullable=False),
    sa.Column('step_since', sa.Float(), nullable=False),
    sa.Column('deadline', sa.Float(), nullable=True),
    sa.Column('ended_at', sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_participants')),
    sa.UniqueConstraint(
      'token_sha256', name=op.f('uq_participants_token_sha256')
    ),
  )
  op.create_index(
    op.f('ix_participants_deadline'), 'participants', ['deadline'], unique=False
  )
  op.create_index(
    op.f('ix_participants_state_step_key'),
    'participants',
    ['state', 'step_key'],
    unique=False,
  )
  op.create_table(
    'studies',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('protocol', sa.JSON(), nullable=False),
    sa.Column('protocol_sha256', sa.Text(), nullable=False),
    sa.Column('secret', sa.Text(), nullable=False),
    sa.Column('paused_at', sa.Float(), nullable=True),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_studies')),
  )
  op.create_table(
    'answers',
    sa.Column('participant_id', sa.Text(), nullable=False),
    sa.Column('step_key', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('group_id', sa.Integer(), nullable=True),
    sa.Column('position', sa.Integer(), nullable=True),
    sa.Column('round', sa.Integer(), nullable=True),
    sa.Column('content', sa.JSON(), nullable=False),
    sa.Column('from_draft', sa.Boolean(), nullable=False),
    sa.Column('answered_at', sa.Float(), nullable=False),
    sa.Column('seconds', sa.Float(), nullable=False),
    sa.ForeignKeyConstraint(
      ['group_id'], ['groups.id'], name=op.f('fk_answers_group_id')
    ),
    sa.ForeignKeyConstraint(
      ['participant_id'],
      ['participants.id'],
      name=op.f('fk_answers_participant_id'),
    ),
    sa.PrimaryKeyConstraint(
      'participant_id', 'step_key', name=op.f('pk_answers')
    ),
  )
  op.create_index(
    op.f('ix_answers_group_id_position'),
    'answers',
    ['group_id', 'position'],
    unique=False,
  )
  op.create_table(
    'drafts',
    sa.Column('participant_id', sa.Text(), nullable=False),
    sa.Column('step_key', sa.Text(), nullable=False),
    sa.Column('content', sa.JSON(), nullable=False),
    sa.Column('saved_at', sa.Float(), nullable=False),
    sa.ForeignKeyConstraint(
      ['participant_id'],
      ['participants.id'],
      name=op.f('fk_drafts_participant_id'),
    ),
    sa.PrimaryKeyConstraint(
      'participant_id', 'step_key', name=op.f('pk_drafts')
    ),
  )
  op.create_table(
    'events',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('at', sa.Float(), nullable=False),
    sa.Column('participant_id', sa.Text(), nullable=True),
    sa.Column('group_id', sa.Integer(), nullable=True),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('detail', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(
      ['group_id'], ['groups.id'], name=op.f('fk_events_group_id')
    ),
    sa.ForeignKeyConstraint(
      ['participant_id'],
      ['participants.id'],
      name=op.f('fk_events_participant_id'),
    ),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_events')),
  )
  op.create_table(
    'group_questions',
    sa.Column('group_id', sa.Integer(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('question_id', sa.Text(), nullable=False),
    sa.Column('side', sa.Text(), nullable=False),
    sa.Column('stage', sa.Text(), nullable=False),
    sa.Column('stage_since', sa.Float(), nullable=False),
    sa.Column('winner', sa.Integer(), nullable=True),
    sa.Column('revised_winner', sa.Integer(), nullable=True),
    sa.ForeignKeyConstraint(
      ['group_id'], ['groups.id'], name=op.f('fk_group_questions_group_id')
    ),
    sa.PrimaryKeyConstraint(
      'group_id', 'position', name=op.f('pk_group_questions')
    ),
  )
  op.create_table(
    'invitations',
    sa.Column('token_sha256', sa.Text(), nullable=False),
    sa.Column('label', sa.Text(), nullable=False),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.Column('used_by', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(
      ['used_by'], ['participants.id'], name=op.f('fk_invitations_used_by')
    ),
    sa.PrimaryKeyConstraint('token_sha256', name=op.f('pk_invitations')),
  )
  op.create_table(
    'memberships',
    sa.Column('group_id', sa.Integer(), nullable=False),
    sa.Column('participant_id', sa.Text(), nullable=False),
    sa.Column('seat', sa.Integer(), nullable=False),
    sa.Column('excluded', sa.Boolean(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(
      ['group_id'], ['groups.id'], name=op.f('fk_memberships_group_id')
    ),
    sa.ForeignKeyConstraint(
      ['participant_id'],
      ['participants.id'],
      name=op.f('fk_memberships_participant_id'),
    ),
    sa.PrimaryKeyConstraint(
      'group_id', 'participant_id', name=op.f('pk_memberships')
    ),
    sa.UniqueConstraint(
      'group_id', 'seat', name=op.f('uq_memberships_group_id_seat')
    ),
  )
  op.create_index(
    op.f('ix_memberships_participant_id'),
    'memberships',
    ['participant_id'],
    unique=False,
  )
  op.create_table(
    'recruitment',
    sa.Column('participant_id', sa.Text(), nullable=False),
    sa.Column('platform', sa.Text(), nullable=False),
    sa.Column('external_id', sa.Text(), nullable=False),
    sa.Column('study', sa.Text(), nullable=False),
    sa.Column('session', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(
      ['participant_id'],
      ['participants.id'],
      name=op.f('fk_recruitment_participant_id'),
    ),
    sa.PrimaryKeyConstraint('participant_id', name=op.f('pk_recruitment')),
    sa.UniqueConstraint(
      'platform',
      'external_id',
      name=op.f('uq_recruitment_platform_external_id'),
    ),
  )
  op.create_table(
    'jobs',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('group_id', sa.Integer(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('round', sa.Integer(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.Column('finished_at', sa.Float(), nullable=True),
    sa.Column('lease_until', sa.Float(), nullable=True),
    sa.Column('worker', sa.Text(), nullable=True),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('progress', sa.Float(), nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(
      ['group_id', 'position'],
      ['group_questions.group_id', 'group_questions.position'],
      name=op.f('fk_jobs_group_id_position'),
    ),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_jobs')),
    sa.UniqueConstraint(
      'group_id',
      'position',
      'round',
      name=op.f('uq_jobs_group_id_position_round'),
    ),
  )
  op.create_index(op.f('ix_jobs_state'), 'jobs', ['state'], unique=False)
  op.create_table(
    'statements',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('group_id', sa.Integer(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('round', sa.Integer(), nullable=False),
    sa.Column('place', sa.Integer(), nullable=False),
    sa.Column('shown', sa.Boolean(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('system', sa.Text(), nullable=False),
    sa.Column('rewards', sa.JSON(), nullable=False),
    sa.Column('provenance', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(
      ['group_id', 'position', 'round'],
      ['jobs.group_id', 'jobs.position', 'jobs.round'],
      name=op.f('fk_statements_group_id_position_round'),
    ),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_statements')),
    sa.UniqueConstraint(
      'group_id',
      'position',
      'round',
      'place',
      name=op.f('uq_statements_group_id_position_round_place'),
    ),
  )
