"""The tables of a study's database. Times are Unix seconds, JSON is text.

`migrations/versions` makes the same tables; a test compares the two. No address
of a participant's machine is kept anywhere.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
  naming_convention={
    'ix': 'ix_%(table_name)s_%(column_0_N_name)s',
    'uq': 'uq_%(table_name)s_%(column_0_N_name)s',
    'fk': 'fk_%(table_name)s_%(column_0_N_name)s',
    'pk': 'pk_%(table_name)s',
  }
)

# One row: what this database is about.
studies = sa.Table(
  'studies',
  metadata,
  sa.Column('id', sa.Integer, primary_key=True),  # 1
  sa.Column('protocol', sa.JSON, nullable=False),
  sa.Column('protocol_sha256', sa.Text, nullable=False),
  sa.Column('secret', sa.Text, nullable=False),  # of CSRF tokens
  sa.Column('paused_at', sa.Float),  # None: it runs
  sa.Column('created_at', sa.Float, nullable=False),
)

participants = sa.Table(
  'participants',
  metadata,
  sa.Column('id', sa.Text, primary_key=True),  # random
  sa.Column('token_sha256', sa.Text, nullable=False, unique=True),
  # active, or how it ended: `protocol.Ending`.
  sa.Column('state', sa.Text, nullable=False),
  sa.Column('entry', sa.Text, nullable=False),  # `protocol.Entry`
  sa.Column('created_at', sa.Float, nullable=False),
  sa.Column('last_seen', sa.Float, nullable=False),
  # The current step, since when, and when its time is over (None: never).
  sa.Column('step_key', sa.Text, nullable=False),
  sa.Column('step_since', sa.Float, nullable=False),
  sa.Column('deadline', sa.Float),
  sa.Column('ended_at', sa.Float),
  sa.Index(None, 'state', 'step_key'),
  sa.Index(None, 'deadline'),
)

# Who sent a participant. Kept apart, and left out of exports by default.
recruitment = sa.Table(
  'recruitment',
  metadata,
  sa.Column(
    'participant_id', sa.ForeignKey('participants.id'), primary_key=True
  ),
  sa.Column('platform', sa.Text, nullable=False),
  sa.Column('external_id', sa.Text, nullable=False),
  sa.Column('study', sa.Text, nullable=False),
  sa.Column('session', sa.Text, nullable=False),
  sa.UniqueConstraint('platform', 'external_id'),
)

invitations = sa.Table(
  'invitations',
  metadata,
  sa.Column('token_sha256', sa.Text, primary_key=True),
  sa.Column('label', sa.Text, nullable=False),
  sa.Column('created_at', sa.Float, nullable=False),
  sa.Column('used_by', sa.ForeignKey('participants.id')),
)

groups = sa.Table(
  'groups',
  metadata,
  sa.Column('id', sa.Integer, primary_key=True),  # 1, 2, ...
  sa.Column('condition', sa.Text, nullable=False),  # name of a Condition
  sa.Column('state', sa.Text, nullable=False),  # running, done or abandoned
  sa.Column('created_at', sa.Float, nullable=False),
  sa.Column('ended_at', sa.Float),
)

memberships = sa.Table(
  'memberships',
  metadata,
  sa.Column('group_id', sa.ForeignKey('groups.id'), primary_key=True),
  sa.Column(
    'participant_id', sa.ForeignKey('participants.id'), primary_key=True
  ),
  sa.Column('seat', sa.Integer, nullable=False),  # from 0
  # Silently: what this person writes does not reach what makes candidates.
  sa.Column('excluded', sa.Boolean, nullable=False),
  sa.Column('state', sa.Text, nullable=False),  # active or left
  sa.UniqueConstraint('group_id', 'seat'),
  sa.Index(None, 'participant_id'),
)

group_questions = sa.Table(
  'group_questions',
  metadata,
  sa.Column('group_id', sa.ForeignKey('groups.id'), primary_key=True),
  sa.Column('position', sa.Integer, primary_key=True),  # from 1
  sa.Column('question_id', sa.Text, nullable=False),
  sa.Column('side', sa.Text, nullable=False),  # affirming or negating
  sa.Column('stage', sa.Text, nullable=False),  # `stages.STAGES`
  sa.Column('stage_since', sa.Float, nullable=False),
  # Ids of the statements that won the rounds.
  sa.Column('winner', sa.Integer),
  sa.Column('revised_winner', sa.Integer),
)

# Candidates to be made, one job for a round of a question of a group.
jobs = sa.Table(
  'jobs',
  metadata,
  sa.Column('id', sa.Integer, primary_key=True),
  sa.Column('group_id', sa.Integer, nullable=False),
  sa.Column('position', sa.Integer, nullable=False),
  sa.Column('round', sa.Integer, nullable=False),  # 0, or 1 after critiques
  sa.Column('state', sa.Text, nullable=False),  # queued, running, done, failed
  sa.Column('created_at', sa.Float, nullable=False),
  sa.Column('finished_at', sa.Float),
  sa.Column('lease_until', sa.Float),
  sa.Column('worker', sa.Text),
  sa.Column('attempts', sa.Integer, nullable=False),
  sa.Column('progress', sa.Float, nullable=False),  # 0 to 1
  sa.Column('error', sa.Text),
  sa.UniqueConstraint('group_id', 'position', 'round'),
  sa.ForeignKeyConstraint(
    ['group_id', 'position'],
    ['group_questions.group_id', 'group_questions.position'],
  ),
  sa.Index(None, 'state'),
)

statements = sa.Table(
  'statements',
  metadata,
  sa.Column('id', sa.Integer, primary_key=True),
  sa.Column('group_id', sa.Integer, nullable=False),
  sa.Column('position', sa.Integer, nullable=False),
  sa.Column('round', sa.Integer, nullable=False),
  # From 0; those that were shown come first, in random order.
  sa.Column('place', sa.Integer, nullable=False),
  sa.Column('shown', sa.Boolean, nullable=False),
  sa.Column('text', sa.Text, nullable=False),
  sa.Column('system', sa.Text, nullable=False),
  sa.Column('rewards', sa.JSON, nullable=False),  # {participant id: number}
  sa.Column('provenance', sa.JSON, nullable=False),
  sa.UniqueConstraint('group_id', 'position', 'round', 'place'),
  sa.ForeignKeyConstraint(
    ['group_id', 'position', 'round'],
    ['jobs.group_id', 'jobs.position', 'jobs.round'],
  ),
)

# What participants answered; `flow` documents the content by kind. A rating
# names its statement; a position, its side.
answers = sa.Table(
  'answers',
  metadata,
  sa.Column(
    'participant_id', sa.ForeignKey('participants.id'), primary_key=True
  ),
  sa.Column('step_key', sa.Text, primary_key=True),
  sa.Column('kind', sa.Text, nullable=False),  # `steps.StepKind`
  # Of steps within a group; None before and after.
  sa.Column('group_id', sa.ForeignKey('groups.id')),
  sa.Column('position', sa.Integer),
  sa.Column('round', sa.Integer),
  sa.Column('content', sa.JSON, nullable=False),
  sa.Column('from_draft', sa.Boolean, nullable=False),  # its time was over
  sa.Column('answered_at', sa.Float, nullable=False),
  sa.Column('seconds', sa.Float, nullable=False),  # that the step took
  sa.Index(None, 'group_id', 'position'),
)

drafts = sa.Table(
  'drafts',
  metadata,
  sa.Column(
    'participant_id', sa.ForeignKey('participants.id'), primary_key=True
  ),
  sa.Column('step_key', sa.Text, primary_key=True),
  sa.Column('content', sa.JSON, nullable=False),
  sa.Column('saved_at', sa.Float, nullable=False),
)

admins = sa.Table(
  'admins',
  metadata,
  sa.Column('id', sa.Integer, primary_key=True),  # 1
  sa.Column('password_hash', sa.Text, nullable=False),  # argon2
)

# Of the researcher. Tokens are kept as hashes only.
admin_sessions = sa.Table(
  'admin_sessions',
  metadata,
  sa.Column('token_sha256', sa.Text, primary_key=True),
  sa.Column('created_at', sa.Float, nullable=False),
  sa.Column('expires_at', sa.Float, nullable=False),
)

events = sa.Table(
  'events',
  metadata,
  sa.Column('id', sa.Integer, primary_key=True),
  sa.Column('at', sa.Float, nullable=False),
  sa.Column('participant_id', sa.ForeignKey('participants.id')),
  sa.Column('group_id', sa.ForeignKey('groups.id')),
  sa.Column('kind', sa.Text, nullable=False),
  sa.Column('detail', sa.JSON, nullable=False),
)
