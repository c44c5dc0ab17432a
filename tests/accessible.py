"""Checks of a page in a browser, after WCAG 2.2 AA, without help from outside.

Labels, headings, names, references, contrast, size of targets, width; and a
walk with the tab key that sees the focus on everything, in reading order.
"""

import itertools

_PAGE_CHECKS = r"""
() => {
  const problems = [];
  const say = (rule, element) => problems.push(
    `${rule}: ${element ? element.outerHTML.slice(0, 120) : ''}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const visible = (element) => element.checkVisibility({
    opacityProperty: true, visibilityProperty: true })
    && element.getClientRects().length > 0;
  const textOf = (element) => element.textContent.trim();

  if (!document.documentElement.lang) say('no language');
  if (!document.title.trim()) say('no title');
  if (all('main').length !== 1) say('not one main');
  if (all('h1').length !== 1) say('not one h1');
  let level = 1;
  for (const heading of all('main :is(h1,h2,h3,h4)')) {
    const now = Number(heading.tagName[1]);
    // A list of errors may come before the heading of the page.
    if (now > level + 1) say('a level of headings is left out', heading);
    level = now;
  }

  const ids = all('[id]').map((element) => element.id);
  for (const id of ids) {
    if (ids.indexOf(id) !== ids.lastIndexOf(id)) say(`id twice: ${id}`);
  }
  for (const name of ['aria-describedby', 'aria-labelledby', 'for']) {
    for (const element of all(`[${name}]`)) {
      for (const id of element.getAttribute(name).split(' ')) {
        if (!document.getElementById(id)) say(`${name} leads nowhere`, element);
      }
    }
  }

  for (const element of all('input,textarea,select,progress')) {
    if (element.type === 'hidden') continue;
    const label = [...element.labels].map(textOf).join(' ');
    if (!label) say('no label', element);
    if (element.type === 'radio') {
      const legend = element.closest('fieldset')?.querySelector('legend');
      if (!legend || !textOf(legend)) say('no legend', element);
    }
  }
  for (const element of all('a,button')) {
    if (!textOf(element)) say('no name', element);
  }
  for (const element of all('img')) {
    if (!element.hasAttribute('alt')) say('no alt', element);
  }
  for (const element of all('[tabindex]')) {
    if (element.tabIndex > 0) say('tabindex above 0', element);
  }

  // Colours, as they are drawn one over the other.
  const canvas = document.createElement('canvas').getContext(
    '2d', { willReadFrequently: true });
  const paint = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      layers.unshift(getComputedStyle(each).backgroundColor);
    }
    return ['white', ...layers];
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort(
      (a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  let texts = 0;
  for (const element of all('body *')) {
    const own = [...element.childNodes].some(
      (node) => node.nodeType === 3 && node.textContent.trim());
    if (!own && element.tagName !== 'TEXTAREA') continue;
    if (!visible(element) || element.closest('.hidden,.skip,noscript')) {
      continue;
    }
    texts += 1;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const layers = behind(element);
    const ratio = contrast(paint([...layers, style.color]), paint(layers));
    if (ratio < (large ? 3 : 4.5)) {
      say(`contrast ${ratio.toFixed(2)}`, element);
    }
  }
  if (!texts) say('no text was seen');
  for (const element of all(
    'textarea,input[type=text],input[type=password],.options label')) {
    const style = getComputedStyle(element);
    const outside = paint(behind(element.parentElement));
    const ratio = contrast(
      paint([...behind(element.parentElement), style.borderTopColor]), outside);
    if (ratio < 3) say(`contrast of edge ${ratio.toFixed(2)}`, element);
  }

  for (const element of all('a,button,.options label,textarea,summary')) {
    if (!visible(element) || element.closest('.skip')) continue;
    const box = element.getBoundingClientRect();
    if (box.height < 24 || box.width < 24) say('small target', element);
  }
  if (document.documentElement.scrollWidth > innerWidth) say('too wide');
  return problems;
}
"""

# What has the focus, where it is, and whether one sees that it has it.
_FOCUS = r"""
() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const label = element.type === 'radio' && element.closest('label');
  const shown = label || element;
  const style = getComputedStyle(shown);
  const box = shown.getBoundingClientRect();
  return {
    what: element.outerHTML.slice(0, 120),
    name: element.name || '',
    seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
      && box.top < innerHeight && box.bottom > 0,
    top: box.top + scrollY,
    left: box.left,
    skip: element.className === 'skip',
  };
}
"""


def problems(page):
  """What is wrong with a page as it stands: one line each."""
  return page.evaluate(_PAGE_CHECKS)


def problems_of_focus(page):
  """What is wrong on a walk through a page with the tab key."""
  found, walked = [], []
  page.evaluate('() => { document.activeElement?.blur(); scrollTo(0, 0); }')
  for _ in range(200):
    page.keyboard.press('Tab')
    focus = page.evaluate(_FOCUS)
    if focus is None or (walked and focus['what'] == walked[0]['what']):
      break
    walked.append(focus)
    if not focus['seen']:
      found.append(f'focus is not seen: {focus["what"]}')
  else:
    found.append('the walk does not end')
  if not walked:
    found.append('nothing can have the focus')
  in_page = [focus for focus in walked if not focus['skip']]
  for before, after in itertools.pairwise(in_page):
    if after['top'] < before['top'] - 1 and after['left'] <= before['left']:
      found.append(f'out of order: {before["what"]} then {after["what"]}')
  return found
