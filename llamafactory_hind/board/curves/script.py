"""What a click on a curve does: the nearest of its points says run and step, and the server sets the fields of Completions."""

JUMP = "hind_curves_jump"  # the field, out of sight, that a click writes into
SCRIPT = """() => {
  const hidden = document.querySelector('#FIELD textarea, #FIELD input');
  if (hidden) { hidden.tabIndex = -1; hidden.setAttribute('aria-hidden', 'true'); }
  if (window.hindCurves) return;
  window.hindCurves = true;
  const place = (mark) => (mark.tagName === 'circle' ? [[mark.cx.baseVal.value, mark.cy.baseVal.value]]
    : [...mark.points].map((point) => [point.x, point.y]));
  const nearest = (svg, event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let found = null, least = Infinity;
    for (const mark of svg.querySelectorAll('[data-hind-steps]')) {
      const steps = mark.dataset.hindSteps.split(' ');
      place(mark).forEach(([x, y], number) => {
        const far = (x - at.x) ** 2 + (y - at.y) ** 2;
        if (far < least) { least = far; found = {run: mark.dataset.hindRun, step: steps[number]}; }
      });
    }
    return found;
  };
  document.addEventListener('click', (event) => {
    const page = event.target.closest && event.target.closest('#hind_curves_page');
    const field = document.querySelector('#FIELD textarea, #FIELD input');
    if (!page || !field) return;
    const button = event.target.closest('button[data-hind-step]'), svg = event.target.closest('svg');
    const asked = button ? {run: button.dataset.hindRun, step: button.dataset.hindStep} : svg && nearest(svg, event);
    if (!asked) return;
    const kind = field.tagName === 'INPUT' ? HTMLInputElement : HTMLTextAreaElement;
    Object.getOwnPropertyDescriptor(kind.prototype, 'value').set.call(field, JSON.stringify({...asked, at: Date.now()}));
    field.dispatchEvent(new Event('input', {bubbles: true}));
  });
}""".replace("FIELD", JUMP)
OPEN = "() => { const tab = document.querySelector('#hind_completions_tab-button'); if (tab) tab.click(); }"
