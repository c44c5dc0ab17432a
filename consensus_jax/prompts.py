"""Every prompt, as data, and how a deliberation fills it.

Two forms. Completion: the paper's templates to the letter, for base models and
models fine-tuned on them. Chat: the same content as a user's message in the
model's own chat template, for instruct models.

What people wrote is one line each, whatever they wrote: line breaks of any kind
become spaces. So a line that starts with "Opinion:" is always ours, and a
forged one inside an opinion stays in the middle of that opinion's line.

Sources of the completion templates: Bakker et al. 2022, talk of 2023-02-22
(zero-shot and fine-tuning template, reward template). The paper's few-shot
prompt is not public: the examples here, the chat prompts and the rater's
question are our own.
"""

import dataclasses
import re
from collections.abc import Sequence

from consensus_jax.deliberation import Deliberation
from consensus_jax.tokenizer import Tokenizer

# A text ends as a sentence, perhaps inside quotation marks or brackets.
_ENDS = re.compile(r'[.!?…][\'"’”)\]]*$')
JURY = (
  "A citizen's jury was tasked with coming up with consensus opinions on a "
  'range of different questions. Below we present one such question along with '
  'the opinions of each individual citizen followed by their consensus '
  'statement.'
)
VERDICT = (
  "After a good debate, the citizen's jury came to the following consensus "
  'view:'
)
CHAT_TASK = (
  'Below are a question and the opinions of the members of a group. Write one '
  'statement of two to four sentences that every member of the group could '
  'agree with. Speak as "we". Say what the members share, be fair to those who '
  'disagree, and add nothing that no member said. Write only the statement.'
)
# How the assistant's message begins. Left to itself, a small instruct model
# talks about the task; begun like this, it writes a statement.
CHAT_OPENING = 'We agree that'
RATER_TASK = (
  'Below are a question, the opinion of one person on it, and a consensus '
  'statement that a group proposes.'
)
RATER_QUESTION = (
  'Does this person agree or disagree with the consensus? Answer Agree or '
  'Disagree.'
)
# The two answers whose log-odds are the prompted rater's reward.
RATER_ANSWERS = ('Agree', 'Disagree')

# A model that goes on after its statement writes the next part of the pattern.
STOP_STRINGS = ('\n\n', '\nQuestion:', '\nOpinion:')


@dataclasses.dataclass(frozen=True)
class Example:
  """A deliberation with its consensus, for few-shot prompts."""

  question: str
  opinions: tuple[str, ...]
  consensus: str


EXAMPLES = (
  Example(
    'Should museums charge an entry fee?',
    (
      'Museums hold what belongs to all of us. My children went every rainy '
      'Sunday when we had no money, and a fee would have kept us out.',
      'Somebody has to pay for heating and guards. Five pounds is less than a '
      'sandwich in the museum cafe, and visitors value what they pay for.',
      'I would charge tourists and let people who live here in for free, since '
      'we pay already with our taxes.',
    ),
    'We want museums to stay open and well kept, and we agree that nobody '
    'should be kept out because they cannot pay. Some of us think that a '
    'modest fee is fair and others that entry should be free, so we would '
    'accept a small charge for visitors from elsewhere, as long as local '
    'people and families with little money come in for free.',
  ),
  Example(
    'Should schools ban mobile phones during the day?',
    (
      'Yes. I teach, and I lose ten minutes of every lesson to phones. '
      'Children talk to each other again when they are locked away.',
      'I am a mother and want to reach my daughter after school, when buses '
      'do not come. A full ban goes too far for me.',
      'Pupils must learn to handle phones, and they will not learn it if '
      'adults simply take them away.',
      'Ban them. Most of the bullying that we saw last year was filmed in '
      'the break.',
    ),
    'We agree that phones should not disturb lessons or be used to bully, and '
    'that pupils need to learn to use them well. We would have phones put away '
    'during lessons and breaks, while pupils may use them to reach their '
    'families after school, and we would have schools teach a sensible use of '
    'them.',
  ),
)


def one_line(text: str) -> str:
  """The text with every run of white space and line breaks as one space."""
  return ' '.join(text.split())


def sentence(text: str) -> str:
  """`text` on one line, with a full stop if it ends without any."""
  text = one_line(text)
  return text if _ENDS.search(text) else f'{text}.'


def policy_text(deliberation: Deliberation) -> str:
  """The part of a policy's prompt that is the deliberation itself."""
  return _task(deliberation.question, [o.text for o in deliberation.opinions])


def question_ids(question: str, tokenizer: Tokenizer) -> list[int]:
  """Token ids of a question as a prompt has them, after its heading."""
  return tokenizer.encode(f' {one_line(question)}')


def opening(tokenizer: Tokenizer, policy: str) -> str:
  """The words at the end of a policy's prompt that begin its statement."""
  return CHAT_OPENING if is_chat(tokenizer, policy) else ''


def policy_prompt(
  deliberation: Deliberation, tokenizer: Tokenizer, policy: str
) -> list[int]:
  """Token ids of the prompt that a policy continues with a statement.

  Chat form if the model has a chat template, else completion form. A fine-tuned
  policy is always asked in the completion form, the paper's, in which it was
  taught. A statement is `opening` and what the policy adds to it.

  Args:
    deliberation: the question and opinions.
    tokenizer: of the policy.
    policy: 'zero_shot', 'few_shot' or 'sft'.
  """
  task = policy_text(deliberation)
  examples = EXAMPLES if policy == 'few_shot' else ()
  if not is_chat(tokenizer, policy):
    text = completion_prompt(task, examples)
    return [*tokenizer.bos_ids, *tokenizer.encode(text)]
  messages = chat_messages(task, examples)
  return [*tokenizer.encode_chat(messages), *tokenizer.encode(CHAT_OPENING)]


def completion_prompt(task: str, examples: Sequence[Example] = ()) -> str:
  """The paper's template, after worked examples in the same form."""
  blocks = [JURY]
  for example in examples:
    shown = _task(example.question, example.opinions)
    blocks += [shown, f'{VERDICT} {example.consensus}']
  return '\n\n'.join([*blocks, task, VERDICT])


def chat_messages(
  task: str, examples: Sequence[Example] = ()
) -> list[tuple[str, str]]:
  """The same as messages; worked examples are earlier turns."""
  messages = []
  for example in examples:
    shown = _task(example.question, example.opinions)
    messages.append(('user', f'{CHAT_TASK}\n\n{shown}'))
    messages.append(('assistant', example.consensus))
  return [*messages, ('user', f'{CHAT_TASK}\n\n{task}')]


def reward_prefix(question: str, opinion: str) -> str:
  """The reward template up to the candidate."""
  return (
    f'Question: {one_line(question)}\n\nOpinion: {one_line(opinion)}\n\n'
    'Consensus:'
  )


def reward_prefix_ids(
  question: str, opinion: str, tokenizer: Tokenizer
) -> list[int]:
  """Token ids of `reward_prefix`, as a model with a reward head reads it."""
  return [
    *tokenizer.bos_ids,
    *tokenizer.encode(reward_prefix(question, opinion)),
  ]


def reward_continuation(candidate: str) -> str:
  """What follows `reward_prefix`: the candidate, which ends as a sentence.

  A reward is of the last token. Whether somebody wrote a full stop there must
  not make a difference.
  """
  return f' {sentence(candidate)}'


def rater_prefix(
  question: str, opinion: str, tokenizer: Tokenizer
) -> list[int]:
  """Token ids of the prompted rater's prompt, up to the candidate."""
  text = f'{RATER_TASK}\n\n{reward_prefix(question, opinion)}'
  before, _ = _frame(tokenizer)
  return [*before, *tokenizer.encode(text)]


def rater_continuation(candidate: str, tokenizer: Tokenizer) -> list[int]:
  """Token ids of a candidate and the question that the rater answers."""
  _, after = _frame(tokenizer)
  asked = tokenizer.encode(f'\n\n{RATER_QUESTION}')
  return [*tokenizer.encode(reward_continuation(candidate)), *asked, *after]


def rater_answers(tokenizer: Tokenizer) -> tuple[int, int]:
  """First token of the answers that mean agreeing and disagreeing.

  Raises:
    ValueError: if the tokenizer starts both answers with the same token.
  """
  space = '' if tokenizer.chat_template else ' '
  agree, disagree = (tokenizer.encode(space + a)[0] for a in RATER_ANSWERS)
  if agree == disagree:
    raise ValueError(f'the answers {RATER_ANSWERS} start with the same token')
  return agree, disagree


def is_chat(tokenizer: Tokenizer, policy: str) -> bool:
  """Whether a policy is asked in the chat form and not in the completion form.

  A fine-tuned policy is asked as it was taught, in the completion form.
  """
  return policy != 'sft' and tokenizer.chat_template is not None


def _task(question: str, opinions: Sequence[str]) -> str:
  lines = [f'Question: {one_line(question)}']
  lines += [f'Opinion: {one_line(opinion)}' for opinion in opinions]
  return '\n\n'.join(lines)


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
  """Ids around the text of a rater's prompt."""
  if tokenizer.chat_template is None:
    return list(tokenizer.bos_ids), tokenizer.encode('\n\nAnswer:')
  before: list[int] = []
  after: list[int] = []
  seen = False
  for piece in tokenizer.chat_pieces(['user']):
    if isinstance(piece, int):
      seen = True
    elif seen:
      after += piece
    else:
      before += piece
  return before, after
