import { initAll } from './nhsuk-frontend.js'

// What the design system's page template does in an inline script, which our content security policy forbids.
document.body.classList.add('js-enabled')
if ('noModule' in HTMLScriptElement.prototype) document.body.classList.add('nhsuk-frontend-supported')
initAll()

// A list that stands on a screen grows old. It is never changed under the reader: a line tells how old it is.
for (const note of document.querySelectorAll('[data-stale-minutes]')) {
  const limit = Number(note.dataset.staleMinutes)
  const shown = Date.now()
  setInterval(() => {
    const minutes = Math.floor((Date.now() - shown) / 60_000)
    if (minutes < limit) return
    note.querySelector('[data-minutes]').textContent = String(minutes)
    note.hidden = false
  }, 15_000)
}

for (const button of document.querySelectorAll('[data-print]')) {
  button.hidden = false
  button.addEventListener('click', () => window.print())
}
