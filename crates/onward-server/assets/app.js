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

// Nor is it brought up to date by itself: a line tells how much is new, and whoever reads decides when to see it.
for (const note of document.querySelectorAll('[data-news]')) {
  const text = note.querySelector('[data-news-text]')
  setInterval(async () => {
    if (document.hidden) return
    const answer = await fetch(note.dataset.news, { redirect: 'error' }).catch(() => null)
    if (!answer || !answer.ok) return
    const told = await answer.text()
    if (text.textContent !== told) text.textContent = told
    note.hidden = told === ''
  }, Number(note.dataset.newsSeconds) * 1000)
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

// Who does nothing for a while is signed out. Two minutes before, that is said, and one press puts it off without leaving the page.
// Another tab may have been used meanwhile: the server is asked before anybody is warned. When it is over, a page on which
// somebody has written stays, so that nothing is lost, and any other leads to the sign-in: it may show a person's record.
for (const note of document.querySelectorAll('[data-session-seconds]')) {
  const form = note.querySelector('form')
  const status = note.querySelector('[data-session-status]')
  const over = note.querySelector('[data-session-over]')
  const warn = Number(note.dataset.sessionWarn) * 1000
  const words = status.textContent
  let ends = Date.now() + Number(note.dataset.sessionSeconds) * 1000
  // What the server gave back unsent, or with what is wrong in it, was written as well.
  let written = document.querySelector('.nhsuk-error-summary, [data-unsent]') !== null
  let asking = false
  document.addEventListener('input', () => { written = true })

  // Asked by GET it is no use of the sign-in; by POST it puts the end off. Whoever is signed out is led to a page that tells none.
  const ask = async (method) => {
    const answer = await fetch('/session', { method }).catch(() => null)
    if (!answer || !answer.ok) return
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html')
    const told = page.querySelector('[data-session-seconds]')
    ends = told ? Date.now() + Number(told.dataset.sessionSeconds) * 1000 : 0
  }
  // The warning stays in sight and must not lie over what has the focus (WCAG 2.4.11): what is scrolled to ends above it, and what it
  // comes to lie over is scrolled out from under it.
  const clear = (due) => {
    document.documentElement.style.scrollPaddingBottom = due ? `${note.offsetHeight + 8}px` : ''
    if (due && !note.contains(document.activeElement)) document.activeElement?.scrollIntoView({ block: 'nearest' })
  }
  let warned = false
  const show = () => {
    const left = ends - Date.now()
    note.hidden = left > warn
    note.classList.toggle('app-session-due', left <= warn)
    if (warned !== left <= warn) {
      warned = left <= warn
      clear(warned)
    }
    if (left > warn) return
    if (form) form.hidden = left <= 0
    over.hidden = left > 0
    status.hidden = left <= 0
    const minutes = Math.ceil(left / 60_000)
    const told = form ? `You are signed out in ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}.` : words
    if (status.textContent !== told) status.textContent = told
    if (left <= 0 && !written) {
      // A page that answered a form has no address of its own: the server names the one that the form stands on.
      location.replace(`/sign-in?next=${encodeURIComponent(note.dataset.sessionPage)}`)
    }
  }
  if (form) {
    note.querySelector('[data-session-tab]').hidden = true
    form.addEventListener('submit', async (event) => {
      event.preventDefault()
      await ask('POST')
      show()
    })
  }
  show()
  setInterval(async () => {
    if (asking || ends - Date.now() > warn) return
    asking = true
    await ask('GET')
    show()
    asking = false
  }, 10_000)
}
