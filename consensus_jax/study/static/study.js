// What makes a study's pages pleasant. Every page works without it too.
'use strict';

(() => {
  const body = document.body;
  const live = document.querySelector('[data-live]');
  let leaving = false; // A page is on its way: no more questions to the server.

  // Says something to those who cannot see it.
  function announce(text) {
    if (live && live.textContent !== text) live.textContent = text;
  }

  // A notice is for once: it must not come back with the page.
  if (location.search.includes('notice=')) {
    history.replaceState(null, '', location.pathname);
  }

  // A second click sends nothing twice. (The server would not mind.)
  for (const form of document.forms) {
    form.addEventListener('submit', (event) => {
      if (leaving) {
        event.preventDefault();
        return;
      }
      leaving = true;
      for (const button of form.querySelectorAll('button')) {
        button.setAttribute('aria-disabled', 'true');
      }
    });
  }

  // A page that comes back with the back button may be an old one.
  addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
  });

  // When a page comes by itself while its tab is hidden, its title shows it.
  if (document.hidden && sessionStorage.getItem('waited')) {
    const title = document.title;
    document.title = `● ${title}`;
    document.addEventListener(
      'visibilitychange', () => { document.title = title; }, { once: true });
  }
  sessionStorage.removeItem('waited');

  // The draft: saved a moment after the last key, and when the tab is left.
  const draft = document.querySelector('form[data-draft]');
  const saved = document.querySelector('[data-saved]');
  let unsaved = false;
  let saving = 0; // The timer.

  async function saveDraft() {
    if (!unsaved || leaving) return;
    unsaved = false;
    let stored = false;
    try {
      const response = await fetch('/draft', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(Object.fromEntries(new FormData(draft))),
        keepalive: true,
      });
      stored = response.ok;
    } catch {
      // No connection; said below.
    }
    unsaved = unsaved || !stored;
    if (saved) saved.textContent = saved.dataset[stored ? 'saved' : 'unsaved'];
    if (saved && !stored) announce(saved.dataset.unsaved);
    if (!stored) saving = setTimeout(saveDraft, 4000);
  }

  if (draft) {
    draft.addEventListener('input', () => {
      unsaved = true;
      if (saved) saved.textContent = '';
      clearTimeout(saving);
      saving = setTimeout(saveDraft, 1500);
    });
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) saveDraft();
    });
    addEventListener('pagehide', saveDraft);
  }

  // Words, counted as the server counts them.
  const text = document.querySelector('textarea[data-min]');
  const count = document.querySelector('[data-count]');
  if (text && count) {
    let before = '';
    const update = () => {
      const words = text.value.split(/\s+/u).filter(Boolean).length;
      const state = words < Number(text.dataset.min) ? 'few'
        : words > Number(text.dataset.max) ? 'many' : 'enough';
      count.textContent = count.dataset.count.replace('%', words);
      count.className = { few: '', many: 'wrong', enough: 'enough' }[state];
      if (before && state !== before && count.dataset[state]) {
        announce(count.dataset[state]);
      }
      before = state;
    };
    text.addEventListener('input', update);
    update();
  }

  // The time left. When it is over, the server says what comes next.
  const timer = document.querySelector('[data-seconds]');
  if (timer) {
    const clock = timer.querySelector('[data-clock]');
    const end = performance.now() + 1000 * Number(timer.dataset.seconds);
    const tick = () => {
      const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      clock.textContent =
        `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
      if (left <= 60 && !timer.classList.contains('soon')) {
        timer.classList.add('soon');
        announce(timer.dataset.soon);
      }
      if (left === 0) {
        saveDraft();
        const ask = () => poll().then(() => setTimeout(ask, 2000));
        setTimeout(ask, 1200);
      } else {
        setTimeout(tick, 1000);
      }
    };
    tick();
  }

  // Asks whether another step has come, and how far others are.
  const waits = Number(body.dataset.poll) < 10;

  async function poll() {
    if (leaving) return;
    try {
      const response = await fetch('/status', { cache: 'no-store' });
      if (response.ok) {
        show(await response.json());
        connected(true);
      } else if (response.status === 401) {
        go();
      }
    } catch {
      connected(false);
    }
  }

  function connected(yes) {
    const offline = document.querySelector('[data-offline]');
    const said = yes ? '' : offline.dataset.offline;
    if (offline.textContent !== said) offline.textContent = said;
  }

  function go() {
    if (leaving) return;
    leaving = true;
    if (waits) sessionStorage.setItem('waited', 'yes');
    location.replace('/study');
  }

  function show(status) {
    if (status.key !== body.dataset.key) {
      go();
      return;
    }
    const waiting = document.querySelector('[data-text]');
    if (waiting && 'waiting' in status) {
      const said = waiting.dataset.text
        .replace('%waiting%', status.waiting)
        .replace('%needed%', status.needed);
      if (waiting.textContent !== said) waiting.textContent = said;
    }
    const progress = document.querySelector('[data-progress]');
    if (progress && 'progress' in status) progress.value = status.progress;
  }

  if (body.dataset.poll) {
    const repeat = () => {
      // Not all at the same moment.
      const wait = Number(body.dataset.poll) * (900 + 200 * Math.random());
      setTimeout(() => poll().finally(repeat), wait);
    };
    repeat();
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) poll();
    });
  }
})();
