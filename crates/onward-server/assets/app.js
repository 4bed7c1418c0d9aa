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

// Counts are kept fresh where a page asks for it. Rows stay as they are: nothing moves under the reader. Whoever looks
// elsewhere, or has stopped it, is not disturbed.
for (const box of document.querySelectorAll('[data-refresh]')) {
  const controls = document.querySelector('[data-refresh-controls]')
  const button = document.querySelector('[data-refresh-pause]')
  const status = document.querySelector('[data-refresh-status]')
  let stopped = false
  controls.hidden = false
  button.addEventListener('click', () => {
    stopped = !stopped
    button.textContent = stopped ? 'Count every 30 seconds again' : 'Stop counting every 30 seconds'
  })
  setInterval(async () => {
    if (stopped || document.hidden) return
    const before = box.querySelector('[data-announce]').dataset.announce
    const answer = await fetch(box.dataset.refresh, { redirect: 'error' }).catch(() => null)
    if (!answer || !answer.ok) {
      status.textContent = 'The counts could not be brought up to date.'
      return
    }
    box.innerHTML = await answer.text()
    const after = box.querySelector('[data-announce]').dataset.announce
    if (after !== before) status.textContent = after
  }, Number(box.dataset.refreshSeconds) * 1000)
}
