// Journeys through the pages in Chromium: by keyboard, with and without JavaScript, each page at each width looked at by axe.
// `node run.mjs TOLD.json`: what it is told, with whose journeys (`home`, `staff`), and where it leaves pictures, if any are wanted; prints what is
// wrong as one JSON array.
import { createRequire } from 'node:module'
import { mkdirSync, readFileSync } from 'node:fs'

const told = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const require = createRequire(`${told.modules}/`)
const { chromium } = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const wrong = []
const say = (text) => wrong.push(text)
if (told.pictures) mkdirSync(told.pictures, { recursive: true })

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage']
const browser = await chromium.launch({ executablePath: told.chromium, headless: true, args: flags })

// WCAG 2.2, success criterion 1.4.12.
const SPACING = '* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important } ' +
  'p { margin-bottom: 2em !important }'

// Where a click fails, the wait beside it is left behind and ends with the browser: it must not hide what failed.
process.on('unhandledRejection', (error) => { if (!/closed/i.test(String(error))) throw error })

async function context(cookie, options = {}) {
  const made = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 },
    reducedMotion: 'reduce', ...options })
  made.setDefaultTimeout(60_000)
  if (cookie) {
    await made.addCookies([{ name: '__Host-sid', value: cookie, url: told.base, secure: true, httpOnly: true, sameSite: 'Lax' }])
  }
  return made
}

function watched(page, name) {
  page.on('console', (message) => {
    // An answer that says no is told on the console, too.
    if (message.type() === 'error' && !/status of (400|401|404|409|422)/.test(message.text())) say(`${name}: console: ${message.text()}`)
  })
  page.on('pageerror', (error) => say(`${name}: script: ${error.message}`))
  page.on('request', (request) => {
    if (!request.url().startsWith(told.base) && !request.url().startsWith('data:')) say(`${name}: foreign request ${request.url()}`)
  })
  // Whatever a page is, it comes fast: the rest of it is kept by the browser after the first visit.
  page.on('requestfinished', async (request) => {
    if (request.resourceType() !== 'document') return
    const { responseBodySize } = await request.sizes().catch(() => ({ responseBodySize: 0 }))
    if (responseBodySize > 25_000) say(`${name}: ${request.url()} loads ${responseBodySize} bytes`)
  })
  page.on('dialog', (dialog) => { say(`${name}: a dialog opened`); dialog.dismiss() })
  return page
}

async function judge(page, name) {
  await page.evaluate(axe)
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'], resultTypes: ['violations']
  }))
  for (const { id, nodes } of violations) say(`${name}: axe ${id}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(' | ')}`)
}

async function fits(page, name) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  if (over > 0) say(`${name}: ${over} px too wide`)
}

// No word of the tables that we make of a summary is broken, above all no medicine's name, nor one of a tag, on a screen or on A4 with its
// margins; and whose it is is repeated on every sheet, which Chromium does for heads of tables that are lower than a quarter of it.
async function whole_words(signedIn, path, least, is_for_paper) {
  const page = watched(await signedIn.newPage(), 'whole words')
  await goto(path)(page)
  for (const [media, width] of [['screen', 1280], ['screen', 960], ['screen', 769], ['screen', 320], ['print', 680]]) {
    await page.setViewportSize({ width, height: 900 })
    await page.emulateMedia({ media })
    const [words, broken] = await page.evaluate(() => {
      const broken = []
      let words = 0
      for (const cell of document.querySelectorAll('.app-record > table th, .app-record > table strong, .nhsuk-tag')) {
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT)
        while (texts.nextNode()) {
          for (const word of texts.currentNode.data.matchAll(/\S+/g)) {
            const range = document.createRange()
            range.setStart(texts.currentNode, word.index)
            range.setEnd(texts.currentNode, word.index + word[0].length)
            words++
            if (new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1) broken.push(word[0])
          }
        }
      }
      return [words, broken]
    })
    if (words < least || broken.length > 0) say(`whole words of ${least}, ${media} ${width}: of ${words} words these are broken: ${broken.join(', ')}`)
  }
  const head = await page.evaluate(() => {
    const head = document.querySelector('.app-paper-head')
    return head ? [getComputedStyle(head).display, head.getBoundingClientRect().height] : ['none', 0]
  })
  if (is_for_paper && (head[0] !== 'table-header-group' || head[1] > 250)) say(`the person's banner is not repeated on each sheet: ${head}`)
  await page.close()
}

// For people to look at: drawing the pages whole takes a quarter of the time.
const picture = async (page, name, fullPage = true) => told.pictures && page.screenshot({ path: `${told.pictures}/${name}.png`, fullPage })

// One page for each sign-in: a new one is a new process, which takes longer than what is looked at.
const looked = new WeakMap()

async function look(signedIn, name, open, widths = [1280, 320]) {
  if (!looked.has(signedIn)) {
    const title = { toString: () => title.now }
    looked.set(signedIn, { page: watched(await signedIn.newPage(), title), title })
  }
  const { page, title } = looked.get(signedIn)
  for (const width of widths) {
    title.now = `${name} ${width}`
    await page.setViewportSize({ width, height: 900 })
    await open(page)
    await judge(page, `${name} ${width}`)
    await fits(page, `${name} ${width}`)
    await picture(page, `${name}-${width}`)
    if (width === 320) {
      // In a session of its own over the debugging protocol, where our content security policy does not reach.
      await page.evaluate((css) => {
        const sheet = new CSSStyleSheet()
        sheet.replaceSync(css)
        document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet]
      }, SPACING)
      await fits(page, `${name} ${width} with text spacing`)
    }
    if (width === 1280) {
      // WCAG 2.2, success criterion 1.4.4.
      await page.evaluate(() => { document.documentElement.style.fontSize = '200%' })
      await fits(page, `${name} ${width} with text of 200 %`)
      await page.evaluate(() => { document.documentElement.style.fontSize = '' })
      await page.emulateMedia({ forcedColors: 'active' })
      await picture(page, `${name}-forced-colours`)
      await page.emulateMedia({ forcedColors: 'none' })
    }
  }
}

const goto = (path, status = 200) => async (page) => {
  const answer = await page.goto(told.base + path)
  if (answer.status() !== status) say(`${path}: ${answer.status()}, not ${status}`)
}

// Whether what has the focus, which contains these words, looks different without it, and wears the design system's yellow; null
// where something else has it.
const shows_focus = (page, words) => page.evaluate((words) => {
  const here = document.activeElement
  if (!here || here === document.body || !here.textContent.includes(words)) return null
  const parts = [here, ...here.querySelectorAll('*')]
  const told = () => parts.map((part) => {
    const { outlineStyle, outlineColor, boxShadow, backgroundColor, borderColor, color } = getComputedStyle(part)
    return [outlineStyle, outlineStyle === 'none' || outlineColor, boxShadow, backgroundColor, borderColor, color].join()
  }).join('|')
  const focused = told()
  here.blur()
  const plain = told()
  here.focus({ preventScroll: true })
  return focused !== plain && focused.includes('255, 235, 59')
}, words)

// By keyboard alone: Tab until the wanted one has the focus, and it must be visible that it has.
async function tab_to(page, words) {
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press('Tab')
    const found = await shows_focus(page, words)
    if (found === null) continue
    if (!found) say(`${words}: the focus cannot be seen`)
    return
  }
  throw new Error(`60 presses of Tab do not reach "${words}"`)
}

// The same, and then Enter, which leads to another page.
async function press(page, words) {
  await tab_to(page, words)
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')])
}

// The judge of focus itself: a style sheet that hides it must be found out.
async function focus_is_judged() {
  const made = await context(null)
  const page = await made.newPage()
  await page.goto(`${told.base}/sign-in`)
  await page.evaluate(() => {
    const sheet = new CSSStyleSheet()
    sheet.replaceSync('*:focus { outline: none !important; box-shadow: none !important; background: #005eb8 !important; color: #fff !important }' +
      ' a, button { background: #005eb8 !important; color: #fff !important; border-color: #fff !important; box-shadow: none !important }')
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet]
  })
  let judged = null
  for (let presses = 0; presses < 60 && judged === null; presses++) {
    await page.keyboard.press('Tab')
    judged = await shows_focus(page, 'Sign in with a passkey')
  }
  if (judged !== false) say(`the judge of focus says ${judged} of a button that hides it`)
  await made.close()
}

// Compressed bytes: of everything that a first visit loads, and of a page alone, for all else is kept by the browser.
async function weigh(cookie, start, then, least = 500) {
  const made = await context(cookie)
  const page = await made.newPage()
  const sizes = []
  page.on('requestfinished', (request) => sizes.push(request.sizes().then((size) => size.responseBodySize)))
  await page.goto(told.base + start, { waitUntil: 'networkidle' })
  const first = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
  const answer = await page.goto(told.base + then, { waitUntil: 'load' })
  const after = (await answer.request().sizes()).responseBodySize
  console.log(`${start} loads ${first} bytes at first, then ${then} ${after}`)
  if (first > 120_000 || first < 20_000) say(`a first visit of ${start} loads ${first} bytes`)
  if (after > 25_000 || after < least) say(`${then} loads ${after} bytes`)
  await made.close()
}

const has = async (page, words, name) => {
  const text = await page.evaluate(() => document.body.textContent.replace(/\s+/g, ' '))
  if (!text.includes(words)) say(`${name}: "${words}" is not there`)
}

async function care(name, javaScriptEnabled, id) {
  const made = await context(null, { javaScriptEnabled })
  const page = watched(await made.newPage(), name)
  await made.addCookies([{ name: '__Host-sid', value: told.home, url: told.base, secure: true, httpOnly: true, sameSite: 'Lax' }])
  await page.goto(`${told.base}/inbox`)
  await tab_to(page, 'Skip to main content')
  const link = await page.$(`a[href="/transfers/${id}"]`)
  await tab_to(page, await link.textContent())
  // The first of that name has the focus; the summary itself is opened by its address.
  await page.goto(`${told.base}/transfers/${id}`)
  await press(page, 'Acknowledge receipt')
  await has(page, 'Acknowledged by', name)
  await press(page, 'Ask the ward')
  await tab_to(page, '')
  await page.focus('#words')
  await page.keyboard.type('When was the last dose given?')
  await press(page, 'Send the question')
  await has(page, 'When was the last dose given?', name)
  await press(page, 'Record arrival')
  await has(page, 'Arrival recorded by', name)
  await press(page, 'First 72 hours')
  await press(page, 'Done')
  await has(page, '1 of 11', name)
  await page.focus('#agency')
  await page.keyboard.type('District nurse, for the dressing')
  await press(page, 'Note it')
  await has(page, 'District nurse, for the dressing', name)
  if (/999|%20|HOLROYD/i.test(page.url().replace(told.base, '').replace(/[0-9a-f-]{36}/g, ''))) say(`${name}: ${page.url()}`)
  await made.close()
}

// WCAG 2.2, success criterion 2.4.11: whatever can have the focus, the warning that the sign-in ends does not lie over it.
async function unobscured(page, name) {
  const hidden = await page.evaluate(() => {
    const due = document.querySelector('.app-session-due')
    const found = []
    let looked = 0
    for (const one of document.querySelectorAll('main a, main button, main input, main textarea, main select, main summary')) {
      if (due.contains(one) || !one.checkVisibility()) continue
      // From above: what is below the window is scrolled to.
      scrollTo(0, 0)
      one.focus()
      if (document.activeElement !== one) continue
      looked += 1
      const [box, over] = [one.getBoundingClientRect(), due.getBoundingClientRect()]
      if (box.bottom > over.top + 1 && box.top < over.bottom) found.push(one.outerHTML.slice(0, 120))
    }
    return looked > 1 ? found : [`only ${looked} looked at`]
  })
  for (const each of hidden) say(`${name}: the warning lies over ${each}`)
}

// A page that somebody opens again until it says this.
async function until(page, path, words) {
  const soon = Date.now() + 60_000
  for (;;) {
    await page.goto(told.base + path)
    if ((await page.evaluate(() => document.body.textContent)).includes(words)) return
    if (Date.now() > soon) throw new Error(`${path} does not come to say "${words}"`)
  }
}

const submit = (page, selector) => Promise.all([page.waitForNavigation(), page.click(selector)])

// By Chromium's own authenticator, from the invitation on: one is set up, one more on the page of the account, and both sign in.
async function passkeys() {
  const made = await context(null)
  const page = watched(await made.newPage(), 'passkeys')
  const cdp = await made.newCDPSession(page)
  await cdp.send('WebAuthn.enable')
  const device = async () => (await cdp.send('WebAuthn.addVirtualAuthenticator', { options: {
    protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
    automaticPresenceSimulation: true
  } })).authenticatorId
  const click = async (words, address) => {
    await page.click(`button:has-text("${words}")`)
    await page.waitForURL(`${told.base}${address}`)
  }
  const phone = await device()
  await page.goto(told.base + told.invitation)
  await click('Set up a passkey', '/')
  await has(page, 'Signed in as Person kit', 'passkeys, invitation')
  await page.goto(`${told.base}/account`)
  await cdp.send('WebAuthn.setUserVerified', { authenticatorId: phone, isUserVerified: false })
  await page.click('button:has-text("Set up a passkey")')
  await page.waitForFunction(() => document.querySelector('#passkey [role=alert]').textContent.includes('was not used'))
  await cdp.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId: phone })
  await device()
  await page.goto(`${told.base}/account`)
  await click('Set up a passkey', '/account?done=passkey')
  await has(page, 'The passkey is set up', 'passkeys, one more')
  if (await page.locator('button:has-text("Remove")').count() !== 2) say('passkeys: there are not two')
  await judge(page, 'passkeys')
  await picture(page, 'account-passkeys')
  await click('Log out', '/sign-in')
  await click('Sign in with a passkey', '/')
  await has(page, 'Signed in as Person kit', 'passkeys, sign-in')
  await page.goto(`${told.base}/account`)
  await page.click('button:has-text("Remove") >> nth=0')
  await page.waitForURL(`${told.base}/account?done=removed`)
  if (await page.locator('button:has-text("Remove")').count() !== 0) say('passkeys: the last one can be removed')
  await made.close()
}

// The person on call: what is stuck, the one safe thing to do, and two people for what is grave.
async function on_call(javaScriptEnabled) {
  const name = javaScriptEnabled ? 'on call' : 'on call without JavaScript'
  const made = await context(told.operators[0], { javaScriptEnabled })
  const page = watched(await made.newPage(), name)
  await page.goto(`${told.base}/operations`)
  await press(page, 'Dead')
  await has(page, 'in the queue “dead”', name)
  await page.goto(`${told.base}/operations/deliveries/${told.ids.dead}`)
  await tab_to(page, 'Show whom it is about')
  await page.keyboard.press('Enter')
  await page.focus('#reveal-reason')
  await page.keyboard.type('the ward rang')
  await press(page, 'Show the person')
  await has(page, 'Holroyd', name)
  if (/999|HOLROYD/i.test(await page.title() + page.url().replace(/[0-9a-f-]{36}/g, ''))) say(`${name}: a name in title or address`)
  await made.close()
}

// By keyboard and without JavaScript: a retry, a repeat, many copies at once, and a hold that goes on. Then the pages that they leave.
async function sent_again(ada) {
  const plain = await context(told.operators[0], { javaScriptEnabled: false })
  const page = watched(await plain.newPage(), 'sent again without JavaScript')
  const why = 'their server is back'
  const delivery = `/operations/deliveries/${told.ids.dead}`
  await page.goto(told.base + delivery)
  await tab_to(page, 'Retry: send the same message now')
  await page.keyboard.press('Enter')
  await page.focus('#retry-reason')
  await page.keyboard.type(why)
  await press(page, 'Retry now')
  await has(page, 'It is queued again', 'retry without JavaScript')
  await until(page, delivery, 'labelled as a repeat')
  await press(page, 'labelled as a repeat')
  await page.focus('#replay-reason')
  await page.keyboard.type(why)
  await press(page, 'Send it again')
  await has(page, 'It is queued again and labelled as a repeat', 'repeat without JavaScript')
  const repeat = new URL(page.url()).pathname
  await press(page, 'The delivery that it repeats')
  await has(page, `Repeat ${repeat.split('/').pop().slice(0, 8)}`, 'the copy leads to its repeat')
  await until(page, '/operations?cause=blocked', 'Send all failed copies of this filter again')
  await press(page, 'Send all failed copies of this filter again')
  await page.focus('#retry-reason')
  await page.keyboard.type(why)
  await press(page, 'Yes, send them again')
  await has(page, 'It is kept', 'many without JavaScript')
  const many = new URL(page.url()).pathname
  await until(page, many, 'Finished')
  await page.goto(`${told.base}/operations/holds/${told.ids.hold}`)
  await tab_to(page, 'Look at it again and let it go on')
  await page.keyboard.press('Enter')
  await page.focus('#release-agreed')
  await page.keyboard.press('Space')
  await page.focus('#release-reason')
  await page.keyboard.type('the ward agrees')
  await press(page, 'Show what would happen')
  await has(page, 'Check before it goes on', 'hold without JavaScript')
  await press(page, 'Yes, let it go on')
  await has(page, 'The copies are queued', 'hold without JavaScript')
  await plain.close()
  await look(ada, 'operations-replay', goto(repeat))
  await look(ada, 'operations-many', goto(many))
  await look(ada, 'operations-after', goto('/operations'))
}

async function operations() {
  const [ada, ben] = [await context(told.operators[0]), await context(told.operators[1])]
  await look(ada, 'operations', goto('/operations'))
  await look(ada, 'operations-nothing', goto('/operations?queue=paused'), [320])
  await look(ada, 'operations-delivery', goto(`/operations/deliveries/${told.ids.dead}`))
  await look(ada, 'operations-delivery-error', async (page) => {
    await goto(`/operations/deliveries/${told.ids.dead}`)(page)
    await page.click('#retry summary')
    await submit(page, '#retry button')
    if (!(await page.title()).startsWith('Error: ')) say('operations-delivery-error: the title does not say that there is an error')
  })
  await look(ada, 'operations-hold', goto(`/operations/holds/${told.ids.hold}`))
  await look(ada, 'operations-hold-preview', async (page) => {
    await goto(`/operations/holds/${told.ids.hold}`)(page)
    await page.click('#release summary')
    await page.check('#release-agreed')
    await page.fill('#release-reason', 'the ward agrees')
    await submit(page, '#release button')
    await has(page, 'Check before it goes on', 'operations-hold-preview')
  })
  await look(ada, 'operations-bulk', goto('/operations/retry?cause=blocked'))
  await look(ada, 'operations-replay-preview', goto(`/operations/deliveries/${told.ids.dead}/replay`))
  await look(ada, 'operations-replay-error', async (page) => {
    await goto(`/operations/deliveries/${told.ids.dead}/replay`)(page)
    await submit(page, '#replay button')
    if (!(await page.title()).startsWith('Error: ')) say('operations-replay-error: the title does not say that there is an error')
  }, [320])
  await on_call(true)
  await on_call(false)
  await sent_again(ada)
  const page = watched(await ada.newPage(), 'redirect')
  await page.goto(`${told.base}/operations/deliveries/${told.ids.plain}`)
  await page.click('#redirect summary')
  await page.fill('#redirect-care_home', 'VMH02')
  await page.fill('#redirect-reason', 'the ward confirms Elm Court')
  await submit(page, '#redirect button')
  await has(page, 'Another operator decides', 'redirect')
  await page.goto(`${told.base}/operations`)
  await page.click('#pause summary')
  await page.fill('#pause-recipient', 'FZZ02')
  await page.fill('#pause-reason', 'the pharmacy moves')
  await submit(page, '#pause button')
  await look(ada, 'operations-asked', goto('/operations?done=asked'), [1280])
  await look(ben, 'operations-second-person', goto('/operations'))
  const opened = async (page) => {
    await goto('/operations')(page)
    await submit(page, 'a:has-text("See what it is about, and decide")')
    await has(page, 'Elm Court (VMH02)', 'operations-request')
    await has(page, 'the ward confirms Elm Court', 'operations-request')
  }
  await look(ben, 'operations-request', opened)
  await look(ben, 'operations-request-error', async (page) => {
    await opened(page)
    await page.click('#reveal summary')
    await submit(page, '#reveal button')
    if (!(await page.title()).startsWith('Error: ')) say('operations-request-error: the title does not say that there is an error')
  }, [320])
  await page.close()
  // By keyboard and without JavaScript: what it is about, whom, and then the decision.
  const plain = await context(told.operators[1], { javaScriptEnabled: false })
  const other = watched(await plain.newPage(), 'second person')
  await other.goto(`${told.base}/operations`)
  await press(other, 'See what it is about, and decide')
  await tab_to(other, 'Show whom it is about')
  await other.keyboard.press('Enter')
  await other.focus('#reveal-reason')
  await other.keyboard.type('to compare with the call')
  await press(other, 'Show the person')
  await has(other, 'Holroyd', 'second person')
  await press(other, 'Agree and send it there')
  await has(other, 'The copy goes to the other party', 'second person')
  for (const made of [ada, ben, plain]) await made.close()
}

// The home keeps its own entry; the ward finds it by that.
async function directory(home) {
  const ward = await context(told.ward)
  await look(home, 'directory-own', goto('/directory'))
  await look(home, 'directory-own-error', async (page) => {
    await goto('/directory')(page)
    await page.fill('#VMH01-free-with', '99')
    await submit(page, 'button:has-text("Keep this entry")')
    await has(page, 'There cannot be more free beds than beds', 'directory-own-error')
  })
  await look(home, 'directory-own-kept', async (page) => {
    await goto('/directory')(page)
    await page.fill('#VMH01-total-with', '10')
    await page.fill('#VMH01-free-with', '2')
    await page.fill('#VMH01-hours', 'Every day 08:00 to 20:00')
    await page.check('#VMH01-accepts')
    await page.check('#VMH01-tracheostomy')
    await page.fill('#VMH01-tracheostomy-with', '2')
    await submit(page, 'button:has-text("Keep this entry")')
    await has(page, 'Your entry is kept', 'directory-own-kept')
  })
  const plain = await context(told.home, { javaScriptEnabled: false })
  const page = watched(await plain.newPage(), 'still correct')
  await page.goto(`${told.base}/directory`)
  await press(page, 'Still correct')
  await has(page, 'what stands here is still correct', 'still correct')
  await plain.close()
  await look(ward, 'directory-search', goto('/directory'))
  await look(ward, 'directory-found', async (page) => {
    await goto('/directory')(page)
    await page.selectOption('#need', 'tracheostomy')
    await page.selectOption('#vacancy', 'free-bed-with-nursing')
    await page.fill('#locality', 'northmoor')
    await page.check('#weekend')
    await submit(page, '.app-filters button')
    await has(page, '1 home', 'directory-found')
    await has(page, 'Confirmed today at', 'directory-found')
  })
  await look(ward, 'directory-nothing', goto('/directory?locality=nowhere'), [320])
  await ward.close()
}

// Somebody leaves the home, and what the hospital replaced says so wherever it was shown.
async function leaving_and_replaced(home) {
  const path = `/transfers/${told.ids.plain}`
  await look(home, 'leave', goto(`${path}/leave`))
  await look(home, 'leave-error', async (page) => {
    await goto(`${path}/leave`)(page)
    await submit(page, 'main form button')
    if (!(await page.title()).startsWith('Error: ')) say('leave-error: the title does not say that there is an error')
  })
  const page = watched(await home.newPage(), 'leave')
  await page.goto(`${told.base}${path}/leave`)
  await page.check('input[value="own-home"]')
  await submit(page, 'main form button')
  await has(page, 'To their own home', 'leave')
  await page.close()
  await look(home, 'record-left', goto(path), [1280])
  for (const [name, part] of [['record-replaced', ''], ['print-replaced', '/print']]) {
    await look(home, name, async (page) => {
      await goto(`/transfers/${told.ids.old}${part}`)(page)
      await has(page, 'Stop using this version', name)
      await has(page, 'version 2 replaces version 1: stop using version 1', name)
      if (await page.locator('form[action$="/acknowledge"]').count() > 0) say(`${name}: it can still be acknowledged`)
    })
  }
  await look(home, 'record-replacing', async (page) => {
    await goto(`/transfers/${told.ids.new}`)(page)
    await has(page, 'It replaces an earlier summary', 'record-replacing')
  }, [1280])
  await look(home, 'checklist-replaced', async (page) => {
    await goto(`/transfers/${told.ids.old}/checklist`)(page)
    await has(page, 'has been replaced', 'checklist-replaced')
  }, [320])
  // A form that was open when the summary was replaced.
  await look(home, 'too-late', async (page) => {
    await goto(`/transfers/${told.ids.keyboard}/query`)(page)
    await page.evaluate((path) => { document.querySelector('main form').action = path }, `/transfers/${told.ids.old}/query`)
    await page.fill('#words', 'When was the last dose given?')
    await submit(page, 'main form button')
    await has(page, 'Nothing was kept of what you sent', 'too-late')
    await has(page, 'Open the summary that replaces it', 'too-late')
  }, [320])
}

// What the hospital took back: the home is told, and confirms with one press.
async function withdrawn(home) {
  await look(home, 'inbox-notice', async (page) => {
    await goto('/inbox')(page)
    const first = await page.textContent('tbody tr:first-child')
    if (!first.includes('Notice: stop using an earlier summary of HOLROYD') || /Overdue|Time not given/.test(first)) {
      say(`inbox-notice: ${first}`)
    }
  })
  await look(home, 'record-stopped', async (page) => {
    await goto(`/transfers/${told.ids.withdrawn}`)(page)
    await has(page, 'Do not use this summary', 'record-stopped')
    await has(page, 'written for somebody else', 'record-stopped')
  })
  await look(home, 'notice', goto(`/transfers/${told.ids.notice}`))
  await look(home, 'notice-print', goto(`/transfers/${told.ids.notice}/print`), [1280])
  const plain = await context(told.home, { javaScriptEnabled: false })
  const page = watched(await plain.newPage(), 'notice without JavaScript')
  await page.goto(`${told.base}/transfers/${told.ids.notice}`)
  await press(page, 'We have stopped using it')
  await has(page, 'Confirmed by', 'notice without JavaScript')
  await page.goto(`${told.base}/inbox`)
  if ((await page.textContent('main')).includes('Notice: stop')) say('a notice that is confirmed still stands in the list')
  await plain.close()
  await look(home, 'inbox-filtered', async (page) => {
    await goto('/inbox?show=recent')(page)
    await page.selectOption('#status', 'replaced')
    await page.selectOption('#sort', 'name')
    await submit(page, '.app-filters button')
    await has(page, 'Of these only: Replaced. Sorted by name.', 'inbox-filtered')
    if (await page.locator('tbody tr').count() !== 1) say('inbox-filtered: not one row')
    await page.goto(`${told.base}/inbox?status=declined`)
    await has(page, 'Nothing on this list has that status.', 'inbox-filtered')
    await page.goBack()
  }, [320])
  await look(home, 'inbox-ended', async (page) => {
    await goto('/inbox?show=recent')(page)
    if ((await page.locator('tr.app-overdue').allTextContents()).some((row) => row.includes('Notice'))) say('inbox-ended: a confirmed notice stops')
    for (const words of ['Replaced', 'Cancelled', 'Left on', 'Confirmed']) await has(page, words, 'inbox-ended')
  })
}

// A page that is closed while it asks gets no answer, and needs none.
const gone = (error) => { if (!/closed/i.test(String(error))) throw error }

async function rights() {
  const dan = await context(told.leads[1])
  await look(dan, 'audit-rights', async (page) => {
    await goto('/audit/rights')(page)
    if (new URL(page.url()).pathname !== '/audit/rights') say('audit-rights: the sign-in was not fresh')
  })
  await look(dan, 'audit-rights-wrong', async (page) => {
    await goto('/audit/rights')(page)
    await submit(page, 'form[action="/audit/rights/erasures"] button')
    await has(page, 'are not erased on request', 'audit-rights-wrong')
  })
  await signed_out_on_an_answer(dan)
  await dan.close()
}

// A page that answers a form has no address of its own. What was given back in it stays; where nothing was, its form's page is next.
async function signed_out_on_an_answer(lead) {
  const soon = { contentType: 'text/html', body: '<p data-session-seconds="0"></p>' }
  const ended = async (page, fill, button) => {
    await page.clock.install()
    for (const [path, fields] of fill) {
      await page.goto(`${told.base}${path}`)
      for (const [field, value] of Object.entries(fields)) await page.fill(`#${field}`, value)
    }
    await submit(page, button)
    await page.route('**/session', (route) => route.fulfill(soon).catch(gone))
    await page.route('**/sign-in?*', (route) => route.fulfill({ contentType: 'text/html', body: 'sign in here' }).catch(gone))
    // As long as the page says that the sign-in lasts.
    await page.clock.fastForward(Number(await page.getAttribute('[data-session-seconds]', 'data-session-seconds')) * 1000)
    await page.clock.runFor('00:11')
  }
  const wrong = watched(await lead.newPage(), 'signed out on an error')
  await ended(wrong, [['/audit/rights', { 'erased-reason': 'case 17' }]], 'form[action="/audit/rights/erasures"] button')
  await wrong.waitForSelector('[data-session-over]', { state: 'visible' })
  if (await wrong.inputValue('#erased-reason') !== 'case 17') say('signed out on an error: the words are lost')
  await wrong.close()
  const found = watched(await lead.newPage(), 'signed out on an answer')
  await ended(found, [['/audit?tab=events', { reason: 'complaint 12' }]], '.app-filters button')
  await found.waitForURL(`${told.base}/sign-in?next=%2Faudit`)
  await found.close()
}

// The information-governance lead: a question without asking IT, and never a number in an address.
async function explorer() {
  const [cat, dan] = [await context(told.leads[0]), await context(told.leads[1])]
  const asked = (tab, fill) => async (page) => {
    await goto(`/audit?tab=${tab}`)(page)
    for (const [field, value] of Object.entries(fill)) await page.fill(`#${field}`, value)
    await submit(page, '.app-filters button')
  }
  const reason = 'complaint 12'
  await look(cat, 'audit', goto('/audit'))
  await look(cat, 'audit-error', asked('events', { reason: '' }), [320])
  await look(cat, 'audit-events', asked('events', { reason }))
  await look(cat, 'audit-nothing', asked('events', { reason, agent: 'nobody' }), [320])
  await look(cat, 'audit-disclosures', asked('disclosures', { reason }))
  await look(cat, 'audit-who', asked('who', { reason, patient: '999 000 0018' }))
  await look(cat, 'audit-entry', async (page) => {
    await asked('who', { reason, patient: '9990000018' })(page)
    await submit(page, '.app-link')
    await page.fill('#reason', reason)
    await submit(page, 'main form button')
    await has(page, 'NHS number 999 000 0018', 'audit-entry')
    if (/999/.test(page.url() + await page.title())) say('audit-entry: a number in address or title')
  })
  await look(cat, 'audit-integrity', goto('/audit/integrity'), [320])
  await look(cat, 'audit-integrity-whole', async (page) => {
    await goto('/audit/integrity')(page)
    await submit(page, 'main form button')
    await has(page, 'The log is whole', 'audit-integrity-whole')
  })
  const asking = await context(told.leads[0], { javaScriptEnabled: false })
  const page = watched(await asking.newPage(), 'export without JavaScript')
  await page.goto(`${told.base}/audit/exports`)
  await page.focus('#reason')
  await page.keyboard.type(reason)
  await press(page, 'Ask for it')
  await has(page, 'Another lead of your organisation must decide', 'export without JavaScript')
  await asking.close()
  await look(dan, 'audit-exports', goto('/audit/exports'))
  await look(dan, 'audit-request', async (page) => {
    await goto('/audit/exports')(page)
    await submit(page, 'a:has-text("See what would leave, and decide")')
    await has(page, reason, 'audit-request')
  })
  const plain = await context(told.leads[1], { javaScriptEnabled: false })
  const other = watched(await plain.newPage(), 'export, second person')
  await other.goto(`${told.base}/audit/exports`)
  await press(other, 'See what would leave, and decide')
  await press(other, 'Grant it')
  await has(other, 'It is granted', 'export, second person')
  await other.goto(`${told.base}/audit?tab=who`)
  await other.focus('#patient')
  await other.keyboard.type('999 000 0018')
  await other.focus('#reason')
  await other.keyboard.type(reason)
  await press(other, 'Search')
  await has(other, 'Person home', 'who saw a person, without JavaScript')
  await press(other, ': show this entry')
  await other.focus('#reason')
  await other.keyboard.type(reason)
  await press(other, 'Show the person')
  await has(other, 'NHS number 999 000 0018', 'an entry revealed, without JavaScript')
  await other.goto(`${told.base}/audit/integrity`)
  await press(other, 'Check the whole log now')
  await has(other, 'The log is whole', 'integrity, without JavaScript')
  for (const made of [cat, dan, plain]) await made.close()
}

// What came since the last look is marked, and a page that stands on a screen tells how much is new without changing.
async function news(home) {
  const page = watched(await home.newPage(), 'news')
  await page.clock.install()
  await page.goto(`${told.base}/inbox`)
  await has(page, 'marked on the list', 'news')
  if (await page.locator('tr:has-text("New since you looked")').count() === 0) say('news: nothing is marked')
  await page.route('**/inbox/news?*', (route) => route.fulfill({ contentType: 'text/plain', body: '2 new arrivals or notices' }).catch(gone))
  const rows = await page.locator('tbody tr').allTextContents()
  await page.clock.runFor('01:01')
  await page.waitForSelector('[data-news]', { state: 'visible' })
  const correct = await page.locator('p:has-text("List correct at") .app-nowrap').first().textContent()
  await has(page, `2 new arrivals or notices since ${correct}. Show`, 'news')
  if (JSON.stringify(await page.locator('tbody tr').allTextContents()) !== JSON.stringify(rows)) say('news: the list changed under the reader')
  await judge(page, 'news')
  await page.setViewportSize({ width: 320, height: 900 })
  await fits(page, 'news')
  await picture(page, 'inbox-news-320')
  await page.close()
}

// A sign-in that is about to end: the warning, the one press that puts it off, and what was written when it has ended.
async function sign_in_ends(home) {
  const form = `${told.base}/transfers/${told.ids.keyboard}/query`
  const soon = (seconds) => ({ contentType: 'text/html', body: `<p data-session-seconds="${seconds}"></p>` })
  const page = watched(await home.newPage(), 'sign-in ends')
  await page.clock.install()
  await page.goto(form)
  if (await page.isVisible('.app-session')) say('sign-in ends: warned too soon')
  await page.focus('#words')
  await page.keyboard.type('When was the last dose given?')
  await page.route('**/session', (route) => route.fulfill(soon(100)).catch(gone))
  await page.clock.fastForward('14:00')
  await page.clock.runFor('00:11')
  await page.waitForSelector('.app-session-due', { state: 'visible' })
  await has(page, 'You are signed out in 2 minutes.', 'sign-in ends')
  await judge(page, 'sign-in ends')
  await page.setViewportSize({ width: 320, height: 900 })
  await fits(page, 'sign-in ends')
  await picture(page, 'sign-in-ends-320')
  await page.setViewportSize({ width: 320, height: 480 })
  await unobscured(page, 'sign-in ends 320')
  await page.focus('#words')
  await picture(page, 'sign-in-ends-focus-320', false)
  // A judge that cannot say no is none.
  const judged = wrong.length
  await page.evaluate(() => { document.querySelector('.app-session-due').style.cssText = 'position: fixed; inset: 0; max-height: none' })
  await unobscured(page, 'sign-in ends, warning in the way')
  if (wrong.length === judged) say('the judge of what the warning lies over finds nothing when it lies over everything')
  else wrong.splice(judged)
  await page.evaluate(() => { document.querySelector('.app-session-due').style.cssText = '' })
  await page.unroute('**/session')
  await page.click('button:has-text("Stay signed in")')
  await page.waitForSelector('.app-session', { state: 'hidden' })
  if (await page.inputValue('#words') !== 'When was the last dose given?') say('sign-in ends: the words are lost')
  // It ends after all: what is being written stays on the page, and the server gives back what is sent.
  await page.route('**/session', (route) => route.fulfill(soon(0)).catch(gone))
  await page.clock.fastForward('15:00')
  await page.clock.runFor('00:11')
  await page.waitForSelector('[data-session-over]', { state: 'visible' })
  if (await page.inputValue('#words') !== 'When was the last dose given?') say('sign-in ends: the words are lost at the end')
  await picture(page, 'sign-in-ended-320')
  await page.close()
  // Where nobody writes, the page leads to the sign-in: it may show a person's record.
  const open = watched(await home.newPage(), 'sign-in ended')
  await open.clock.install()
  await open.goto(`${told.base}/transfers/${told.ids.keyboard}`)
  await open.route('**/session', (route) => route.fulfill(soon(0)).catch(gone))
  await open.route('**/sign-in?*', (route) => route.fulfill({ contentType: 'text/html', body: 'sign in here' }).catch(gone))
  await open.clock.fastForward('15:00')
  await open.clock.runFor('00:11')
  await open.waitForURL(`${told.base}/sign-in?next=%2Ftransfers%2F${told.ids.keyboard}`)
  await open.close()
  for (const javaScriptEnabled of [true, false]) {
    const made = await context(null, { javaScriptEnabled })
    const sent = async (page) => {
      await made.addCookies([{ name: '__Host-sid', value: told.home, url: told.base, secure: true, httpOnly: true, sameSite: 'Lax' }])
      await page.goto(form)
      await page.focus('#words')
      await page.keyboard.type('When was the last dose given?')
      await made.clearCookies()
      await submit(page, 'main button')
      await has(page, 'You were signed out, and nothing was sent', 'signed-out')
      if (await page.inputValue('textarea') !== 'When was the last dose given?') say('signed-out: the words are lost')
    }
    if (javaScriptEnabled) await look(made, 'signed-out', sent)
    // What judges pages needs scripts that run.
    else await sent(watched(await made.newPage(), 'signed out without JavaScript'))
    await made.close()
  }
  await look(home, 'session', goto('/session'), [320])
}

// A care home's people; and those who look after it all, with what is the same for everybody.
const journeys = {
  async home() {
    await weigh(told.home, '/inbox', `/transfers/${told.ids.keyboard}`, 1_000)
    const home = await context(told.home)
    const other = await context(told.other)
    await look(home, 'account', goto('/account'))
    await look(home, 'account-error', async (page) => {
      await goto('/account')(page)
      await page.fill('#current', 'one of one of one')
      await page.fill('#password', 'two of two of two')
      await page.fill('#again', 'two of two of two')
      await Promise.all([page.waitForNavigation(), page.click('button:has-text("Change the password")')])
      await has(page, 'There is a problem', 'account-error')
    })
    await look(home, 'inbox', goto('/inbox'))
    await news(home)
    await look(home, 'inbox-recent', goto('/inbox?show=recent'), [1280])
    await look(other, 'inbox-empty', goto('/inbox'))
    await look(home, 'record', goto(`/transfers/${told.ids.keyboard}`))
    await look(home, 'record-deceased', goto(`/transfers/${told.ids.deceased}`))
    await look(home, 'record-hostile', goto(`/transfers/${told.ids.hostile}`))
    {
      const page = await home.newPage()
      await goto(`/transfers/${told.ids.hostile}`)(page)
      const text = await page.evaluate(() => document.body.textContent)
      if (/[\u202a-\u202e\u2066-\u2069]/.test(text)) say('record-hostile: the order of signs can be turned round')
      await page.close()
    }
    await look(home, 'print', goto(`/transfers/${told.ids.keyboard}/print`))
    await whole_words(home, `/transfers/${told.ids.keyboard}/print`, 40, true)
    await whole_words(home, '/inbox', 5, false)
    await look(home, 'query', goto(`/transfers/${told.ids.keyboard}/query`))
    await look(home, 'query-error', async (page) => {
      await goto(`/transfers/${told.ids.keyboard}/query`)(page)
      await Promise.all([page.waitForNavigation(), page.click('main button')])
      if (!(await page.title()).startsWith('Error: ')) say('query-error: the title does not say that there is an error')
    })
    await look(home, 'decline', goto(`/transfers/${told.ids.keyboard}/decline`))
    await look(home, 'not-there', async (page) => {
      await goto('/transfers/3f2b0c9e-0000-4000-8000-000000000000', 404)(page)
      await has(page, 'Person home, care home, for Rowan House Care Home (VMH01)', 'not-there')
    })
    await look(other, 'not-theirs', goto(`/transfers/${told.ids.keyboard}`, 404), [320])
    await sign_in_ends(home)
    await care('by keyboard', true, told.ids.keyboard)
    await care('by keyboard without JavaScript', false, told.ids.plain)
    await look(home, 'record-arrived', goto(`/transfers/${told.ids.keyboard}`))
    await look(home, 'checklist', goto(`/transfers/${told.ids.keyboard}/checklist`))
    await look(home, 'checklist-error', async (page) => {
      await goto(`/transfers/${told.ids.keyboard}/checklist`)(page)
      await page.click('section:nth-of-type(3) summary')
      await Promise.all([page.waitForNavigation(), page.click('section:nth-of-type(3) details button')])
    })
    await look(home, 'inbox-after', goto('/inbox'), [1280, 320])
    await leaving_and_replaced(home)
    await withdrawn(home)
    await directory(home)
    const printed = watched(await home.newPage(), 'print as PDF')
    await printed.goto(`${told.base}/transfers/${told.ids.keyboard}/print`)
    await printed.pdf({ ...(told.pictures && { path: `${told.pictures}/print.pdf` }), format: 'A4', tagged: true })
  },
  async staff() {
    await rights()
    await focus_is_judged()
    const nobody = await context(null)
    await look(nobody, 'sign-in', goto('/sign-in'))
    await weigh(told.ward, '/directory', '/directory?need=tracheostomy')
    await weigh(told.operators[0], '/operations', `/operations/deliveries/${told.ids.dead}`)
    await weigh(told.leads[0], '/audit', '/audit/exports')
    await passkeys()
    await operations()
    await explorer()
  }
}

try {
  await journeys[told.whose]()
} catch (error) {
  say(`the journey broke off: ${error.stack}`)
}
await browser.close()
console.log(JSON.stringify(wrong))
