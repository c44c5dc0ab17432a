"""Reads gin files: the only module of the library that imports gin.

A gin file is a program: it imports modules while it is parsed, and can bind and
call whatever they lead to. So every file is first read without executing it,
and refused if it imports from outside consensus_jax, refers to anything that is
not a class or function of consensus_jax, or sets a macro that nothing uses.
Only then does gin see it. What passes can still call this library's functions:
load gin files as you run scripts, never from a checkpoint, a participant or a
URL.
"""

import contextlib
import copy
import dataclasses
import importlib
import inspect
import os
import pathlib
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import gin
from gin import config_parser

from consensus_jax.model import config

_LIBRARY = 'consensus_jax.'
_DYNAMIC_REGISTRATION = '__gin__.dynamic_registration'
_REQUIRED = 'gin.REQUIRED'
# What files offer to whoever reads them: need not be used within.
_MODEL_MACRO = 'MODEL'
_OFFERED = frozenset((_MODEL_MACRO, 'MESH', 'EXECUTION', 'RUN'))
_INCLUDE_LINE = re.compile(r"""include\s+(['"])[^'"]+\1\s*(#.*)?""")

_StrPath = str | os.PathLike[str]


def shipped_directory() -> pathlib.Path:
  """Where the configurations that come with the library are, as models/*.gin.

  An installed wheel has them within the package, a checkout beside it.
  """
  package = pathlib.Path(__file__).parent
  inside = package / 'gin'
  return inside if inside.is_dir() else package.parent / 'gin'


def parse(
  files: Iterable[_StrPath],
  bindings: Sequence[str] = (),
  search_paths: Iterable[_StrPath] = (),
) -> None:
  """Replaces gin's configuration by that of `files`, then of `bindings`.

  Args:
    files: gin files; later ones override earlier ones. One that is not found
      as named is looked for in `search_paths`, then in `shipped_directory()`.
    bindings: as from a command line: `STEPS=10`, `train.Config.steps=10`. They
      override and complete what the files configure.
    search_paths: directories.

  Raises:
    ValueError: a file is missing, malformed or not harmless (see above), leaves
      a required macro open, or names a macro or parameter that does not exist.
      Says in which file. gin's configuration is empty then.
  """
  gin.clear_config()
  roots = [*map(pathlib.Path, search_paths), shipped_directory()]
  sources: list[_Source] = []
  for file in files:
    sources += _read(_find(file, roots), roots, including=())
  configured = {name for source in sources for name in source.configured}
  for binding in bindings:
    sources.append(_read_binding(binding, configured))
  _check_macros(sources)
  try:
    for source in sources:
      with _errors_naming(source.name):
        gin.parse_config(source.text)
    gin.finalize()
  except Exception:
    gin.clear_config()
    raise


def load_model_config(file: _StrPath) -> config.ModelConfig:
  """Builds what a model file's MODEL macro describes; leaves gin empty.

  Args:
    file: such as 'models/llama3_8b.gin', found as in `parse`.

  Raises:
    ValueError: as in `parse`, or the file does not describe a valid model.
  """
  model, _ = build(_MODEL_MACRO, [file])
  if not isinstance(model, config.ModelConfig):
    raise ValueError(
      f'{os.fspath(file)}: MODEL must be @config.ModelConfig(), got {model!r}'
    )
  return model


def build(
  macro: str,
  files: Sequence[_StrPath],
  bindings: Sequence[str] = (),
  search_paths: Iterable[_StrPath] = (),
) -> tuple[Any, str]:
  """Builds what a macro describes; leaves gin empty.

  Args:
    macro: such as 'RUN'.
    files: as in `parse`.
    bindings: as in `parse`.
    search_paths: as in `parse`.

  Returns:
    The object, or None if nothing sets the macro; and the whole configuration
    as one gin text, which builds it again.

  Raises:
    ValueError: as in `parse`, or an object refuses its values.
  """
  parse(files, bindings, search_paths)
  try:
    with _errors_naming(', '.join(str(file) for file in files)):
      value = gin.get_bindings(f'{macro}/gin.macro').get('value')
      return value, gin.config_str()
  finally:
    gin.clear_config()


@dataclasses.dataclass(frozen=True)
class _Use:
  """A name and where it stands, for messages."""

  name: str
  where: str


@dataclasses.dataclass
class _Source:
  """A file or a binding that has been read but not executed."""

  name: str
  text: str
  macros_set: list[_Use] = dataclasses.field(default_factory=list)
  macros_required: list[_Use] = dataclasses.field(default_factory=list)
  macros_used: list[_Use] = dataclasses.field(default_factory=list)
  configured: set[str] = dataclasses.field(default_factory=set)


class _References(config_parser.ParserDelegate):
  """Notes the references and macros in values instead of resolving them."""

  def __init__(self):
    self.selectors: list[str] = []
    self.macros: list[str] = []

  def configurable_reference(self, scoped_configurable_name, evaluate):
    """Notes `@scope/module.Name`, with or without its call."""
    self.selectors.append(scoped_configurable_name.rpartition('/')[2])

  def macro(self, macro_name):
    """Notes `%NAME`."""
    self.macros.append(macro_name)
    return f'%{macro_name}'


def _find(file: _StrPath, roots: Sequence[pathlib.Path]) -> pathlib.Path:
  for path in (pathlib.Path(file), *(root / file for root in roots)):
    if path.is_file():
      return path
  tried = ', '.join(str(root) for root in roots)
  raise ValueError(f'{os.fspath(file)}: no such gin file; looked in {tried}')


def _read(
  path: pathlib.Path,
  roots: Sequence[pathlib.Path],
  including: tuple[pathlib.Path, ...],
) -> list[_Source]:
  """The sources that `path` includes, then `path` without its includes."""
  if path.resolve() in including:
    raise ValueError(f'{path}: includes itself')
  including = (*including, path.resolve())
  try:
    text = path.read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'{path}: cannot be read: {error}') from error
  included: list[_Source] = []
  source = _Source(str(path), text)
  lines = text.split('\n')
  modules: dict[str, str] = {}
  for statement, references in _statements(source.name, text):
    where = f'{path}:{statement.location.line_num}'
    if isinstance(statement, config_parser.IncludeStatement):
      # Read here and not by gin, so that every included file is checked too.
      line = statement.location.line_num - 1
      if modules or source.configured or source.macros_set:
        raise ValueError(f'{where}: includes must come first')
      if not _INCLUDE_LINE.fullmatch(lines[line].strip()):
        raise ValueError(f'{where}: an include must have a line of its own')
      lines[line] = ''
      included += _read(_find(statement.filename, roots), roots, including)
    elif isinstance(statement, config_parser.ImportStatement):
      modules |= _checked_import(statement, where)
    else:
      _note(source, statement, references, where)
      for selector in _selectors(statement, references):
        _check_selector(selector, modules, where)
  source.text = '\n'.join(lines)
  return [*included, source]


def _read_binding(binding: str, configured: set[str]) -> _Source:
  source = _Source(f'binding {binding!r}', binding)
  try:
    statements = list(_statements(source.name, binding))
  except ValueError as error:
    raise ValueError(
      f'{error} (a text needs quotes of its own: NAME=\'"text"\')'
    ) from None
  if len(statements) != 1 or not isinstance(
    statements[0][0], config_parser.BindingStatement
  ):
    raise ValueError(f'{source.name}: expected NAME=VALUE')
  statement, references = statements[0]
  for selector in _selectors(statement, references):
    if selector not in configured:
      raise ValueError(
        f'{source.name}: no file configures {selector!r}; there are '
        f'{", ".join(sorted(configured)) or "none"}'
      )
  _note(source, statement, references, source.name)
  return source


def _statements(name: str, text: str) -> Iterator[tuple[Any, _References]]:
  """Each statement with what its value refers to; executes nothing."""
  references = _References()
  with _errors_naming(name):
    for statement in config_parser.ConfigParser(text, references):
      # A block's bindings are all parsed when its head is.
      yield statement, copy.deepcopy(references)
      references.selectors.clear()
      references.macros.clear()


def _selectors(statement: Any, references: _References) -> list[str]:
  is_macro = (
    isinstance(statement, config_parser.BindingStatement)
    and not statement.arg_name
  )
  return [*references.selectors, *([] if is_macro else [statement.selector])]


def _note(
  source: _Source, statement: Any, references: _References, where: str
) -> None:
  source.configured |= set(_selectors(statement, references))
  source.macros_used += [_Use(name, where) for name in references.macros]
  if (
    isinstance(statement, config_parser.BindingStatement)
    and not statement.arg_name
  ):
    scope = f'{statement.scope}/' if statement.scope else ''
    use = _Use(scope + statement.selector, where)
    source.macros_set.append(use)
    if statement.value == f'%{_REQUIRED}':
      source.macros_required.append(use)


def _checked_import(
  statement: config_parser.ImportStatement, where: str
) -> dict[str, str]:
  """The name that an import binds and the module that it stands for."""
  if statement.is_from and statement.module == _DYNAMIC_REGISTRATION:
    return {}
  if not (statement.is_from and statement.module.startswith(_LIBRARY)):
    raise ValueError(
      f'{where}: {statement.format()!r} is refused: a gin file may only import '
      'modules of consensus_jax, as `from consensus_jax.model import config`'
    )
  return {statement.bound_name(): statement.module}


def _check_selector(selector: str, modules: dict[str, str], where: str) -> None:
  """Refuses what is not `module.Name` with Name defined by this library.

  gin would follow any attribute: `@config.dataclasses.sys.exit()`.
  """
  alias, _, name = selector.partition('.')
  if alias not in modules:
    raise ValueError(f'{where}: {selector!r}: nothing imports {alias!r}')
  try:
    target = getattr(importlib.import_module(modules[alias]), name)
  except (ImportError, AttributeError) as error:
    raise ValueError(f'{where}: {selector!r}: {error}') from error
  ours = inspect.isclass(target) or inspect.isfunction(target)
  if not (ours and target.__module__.startswith(_LIBRARY)):
    raise ValueError(
      f'{where}: {selector!r} is no class or function of consensus_jax'
    )


def _check_macros(sources: Sequence[_Source]) -> None:
  """Catches typing errors that gin ignores: `STEPZ = 3`."""
  is_set = {use.name for source in sources for use in source.macros_set}
  used = {use.name for source in sources for use in source.macros_used}
  missing: dict[str, str] = {}
  for source in sources:
    for use in source.macros_set:
      if use.name not in used and use.name not in _OFFERED:
        raise ValueError(f'{use.where}: nothing uses a macro {use.name!r}')
      missing.pop(use.name, None)
    for use in source.macros_used:
      if use.name not in is_set and use.name != _REQUIRED:
        raise ValueError(f'{use.where}: nothing sets the macro {use.name!r}')
    missing |= {use.name: use.where for use in source.macros_required}
  for name, where in missing.items():
    raise ValueError(f'{where}: the macro {name!r} must be set')


@contextlib.contextmanager
def _errors_naming(name: str) -> Iterator[None]:
  """Raises what gin raises for a faulty file as a ValueError with its name."""
  try:
    yield
  except SyntaxError as error:
    raise ValueError(f'{name}:{error.lineno}: {error.msg}') from error
  except tokenize.TokenError as error:
    message, (line, _) = error.args
    raise ValueError(f'{name}:{line}: {message}') from error
  except (ValueError, TypeError, NameError, AttributeError) as error:
    raise ValueError(f'{name}: {error}') from error
