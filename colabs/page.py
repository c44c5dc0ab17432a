"""An executed notebook as one HTML page, to look at.

Forms are drawn from their `@param` comments, as Colab draws them. Widgets need
a kernel: of those the page shows the names.
"""

import html
import re

import markdown_it
import nbformat
import pygments
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_FIELD = re.compile(r'^(\w+) = (.+?)  # @param(.*)$', re.MULTILINE)
_TITLE = re.compile(r'^# @title ([^{\n]*)')

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2em auto;
  padding: 0 1em; color: #1f2328; }
pre { background: #f6f8fa; padding: .8em; overflow-x: auto; font-size: 13px;
  white-space: pre-wrap; }
img { max-width: 100%; }
.form { border: 1px solid #d0d7de; border-radius: 6px; padding: .6em 1em; }
.form h3 { margin: 0 0 .4em; }
.form label { display: grid; grid-template-columns: 9em 1fr; margin: .3em 0; }
.form input, .form select { font: inherit; border: 0; padding: .2em .4em;
  border-bottom: 1px solid #8c959f; background: #f6f8fa; }
.stderr { color: #6e4a00; }
details { margin: .4em 0; }
"""


def render(notebook: nbformat.NotebookNode) -> str:
  """The page."""
  body = '\n'.join(_cell(cell) for cell in notebook.cells)
  style = _STYLE + HtmlFormatter().get_style_defs('.highlight')
  return (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    f'<title>Notebook</title><style>{style}</style><body>{body}</body></html>\n'
  )


def _cell(cell: nbformat.NotebookNode) -> str:
  if cell.cell_type == 'markdown':
    return (
      markdown_it.MarkdownIt('commonmark').enable('table').render(cell.source)
    )
  code = pygments.highlight(cell.source, PythonLexer(), HtmlFormatter())
  title = _TITLE.match(cell.source)
  if title:
    code = (
      f'<div class="form"><h3>{html.escape(title[1].strip())}</h3>'
      f'{_fields(cell.source)}<details><summary>code</summary>{code}</details>'
      '</div>'
    )
  return code + '\n'.join(_output(output) for output in cell.outputs)


def _fields(source: str) -> str:
  fields = []
  for name, value, kind in _FIELD.findall(source):
    shown = html.escape(value.strip('\'"'), quote=True)
    box = f'<input value="{shown}">'
    if kind.strip().startswith('['):
      box = f'<select><option>{shown}</option></select>'
    fields.append(f'<label>{name}{box}</label>')
  return ''.join(fields)


def _output(output: nbformat.NotebookNode) -> str:
  if output.output_type == 'stream':
    # A line that was written over leaves its last state.
    text = re.sub(r'[^\n]*\r', '', output.text.rstrip('\r'))
    return f'<pre class="{output.name}">{html.escape(text)}</pre>'
  if output.output_type == 'error':
    return f'<pre>{html.escape(output.evalue)}</pre>'
  data = output.data
  if 'image/png' in data:
    return (
      f'<img alt="" src="data:image/png;base64,{data["image/png"].strip()}">'
    )
  if 'text/markdown' in data:
    return (
      markdown_it.MarkdownIt('commonmark')
      .enable('table')
      .render(data['text/markdown'])
    )
  if 'application/vnd.jupyter.widget-view+json' in data:
    return '<p><em>Widgets, where a kernel runs.</em></p>'
  return f'<pre>{html.escape(data.get("text/plain", ""))}</pre>'
