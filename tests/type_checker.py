"""What checks every annotation of the library while the tests run."""

from typing import Any, Self

import beartype

# jaxtyping checks methods one by one, where beartype cannot know their class.
check = beartype.beartype(
  conf=beartype.BeartypeConf(hint_overrides=beartype.FrozenDict({Self: Any}))
)
