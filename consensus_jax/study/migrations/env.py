"""Runs migrations in the transaction that `database.open_database` began."""

from alembic import context

from consensus_jax.study.tables import metadata

context.configure(
  connection=context.config.attributes['connection'],
  target_metadata=metadata,
  render_as_batch=True,
)
context.run_migrations()
