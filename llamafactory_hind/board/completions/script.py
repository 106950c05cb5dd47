"""What the page does by itself: clicks on names, and keys. It reads `data-hind-…` attributes alone and calls nobody."""

SCRIPT = """(...values) => {
  const hidden = document.querySelector('#hind_completions_jump textarea, #hind_completions_jump input');
  if (hidden) { hidden.tabIndex = -1; hidden.setAttribute('aria-hidden', 'true'); }
  if (!window.hindCompletions) {
    window.hindCompletions = true;
    const id = (name) => '#hind_completions_' + name;
    const find = (name) => document.querySelector(id(name));
    const entry = (name) => document.querySelector(id(name) + ' textarea, ' + id(name) + ' input');
    const shown = () => { const page = find('html'); return page && page.offsetParent !== null; };
    document.addEventListener('click', (event) => {
      const link = event.target.closest && event.target.closest('[data-hind-row]');
      const field = entry('jump');
      if (!link || !field) return;
      const asked = JSON.stringify({row: link.dataset.hindRow, view: link.dataset.hindView, at: Date.now()});
      const kind = field.tagName === 'INPUT' ? HTMLInputElement : HTMLTextAreaElement;
      Object.getOwnPropertyDescriptor(kind.prototype, 'value').set.call(field, asked);
      field.dispatchEvent(new Event('input', {bubbles: true}));
    });
    let at = -1;
    document.addEventListener('keydown', (event) => {
      const typing = event.target.closest && event.target.closest('input, textarea, select, [contenteditable]');
      if (typing || event.ctrlKey || event.metaKey || event.altKey || !shown()) return;
      const press = {ArrowLeft: 'back', ArrowRight: 'next'}[event.key];
      if (press) { const button = find(press); if (button) button.click(); }
      else if (event.key === '/') { const field = entry('text'); if (field) field.focus(); }
      else if (event.key === 'b') { const box = entry('boxes'); if (box) box.click(); }
      else if (event.key === 'j' || event.key === 'k') {
        const cards = document.querySelectorAll('#hind_completions_html .hc-card');
        if (!cards.length) return;
        at = Math.min(Math.max(at + (event.key === 'j' ? 1 : -1), 0), cards.length - 1);
        cards[at].scrollIntoView({block: 'start'});
      } else return;
      event.preventDefault();
    });
  }
  return values;
}"""
