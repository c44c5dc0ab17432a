import pytest

from consensus_jax import chat_template
from consensus_jax.chat_template import ChatTemplateError

EACH = '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}'
TOKENS = {'bos_token': '<s>'}


def render(template, roles=('user',), prompt=False):
  return chat_template.render(
    template, roles, TOKENS, add_generation_prompt=prompt
  )


def test_gaps_stand_where_the_texts_belong():
  pieces = render(EACH + '!', ['system', 'user', 'assistant'])
  assert pieces == ['[system]', 0, '[user]', 1, '[assistant]', 2, '!']


def test_a_template_may_show_a_text_twice_trimmed_and_in_any_order():
  template = '{{ messages[1].content | trim }}-{{ messages[0].content }}'
  assert render(template * 2, ['user', 'user']) == [1, '-', 0, 1, '-', 0]


def test_templates_get_what_transformers_gives_them():
  template = (
    '{{ bos_token }}{% if add_generation_prompt %}>{% endif %}'
    '{{ strftime_now("%d %b %B %Y") }}, {{ date_string }}'
    '{% for m in messages %}{{ m.content }}{% break %}{% endfor %}'
    '{{ {"a": "é"} | tojson }}{{ tools is none }}'
  )
  assert render(template, prompt=True) == [
    '<s>>26 Jul July 2024, 26 Jul 2024',
    0,
    '{"a": "é"}True',
  ]


def test_what_leaves_the_marker_whole_is_allowed():
  template = '{{ messages[0].content | tojson | upper | e }}'
  assert render(template) == ['&#34;', 0, '&#34;']


def test_blocks_leave_no_line_breaks():
  template = 'a\n  {% if true %}\nb\n  {% endif %}\n{{ messages[0].content }}'
  assert render(template) == ['a\nb\n', 0]


@pytest.mark.parametrize(
  ('template', 'message'),
  [
    ('{{ messages[0].role }}', r'leaves out .* message 1 \(user\)'),
    ('{{ messages[0].content[1:] }}', 'leaves out or changes'),
    ('{{ messages[0].content | length }}', 'leaves out or changes'),
    ('{{ messages[0].content | urlencode }}', 'leaves out or changes'),
    ('{{ raise_exception("no system message") }}', 'fails: no system message'),
    ('{{ 1 / 0 }}', 'fails: division by zero'),
    ('{{ messages.append(1) }}', 'fails: .*append.* is unsafe'),
    ('{{ cycler.__init__.__globals__ }}', 'fails: .*unsafe'),
    ('{{ messages[0].content.format }}{% endif %}', 'fails: .*endif'),
    ('{{ absent.attribute }}', "fails: 'absent' is undefined"),
    ('{% for i in range(10**9) %}{% endfor %}', 'fails: Range too big'),
    ('\ue000{{ messages[0].content }}', 'private characters'),
  ],
)
def test_refuses_what_does_not_show_the_text(template, message):
  with pytest.raises(ChatTemplateError, match=message):
    render(template)


def test_knows_three_roles():
  with pytest.raises(ChatTemplateError, match="no role 'tool'"):
    render(EACH, ['tool'])
