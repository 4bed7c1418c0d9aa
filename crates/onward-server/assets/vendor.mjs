// Takes nhsuk-frontend out of its npm package into ./nhsuk-frontend: `npm run vendor`, with the version below.
//
// What changes on the way: both @font-face rules and the family name go (Frutiger is licensed to the NHS and its
// suppliers, and is fetched from elsewhere; Arial remains); rules that would fetch pictures which we do not serve go, too
// (sorting and clearing icons of components that we do not use). The NHS logo is in neither file.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const VERSION = '10.6.1'
const INTEGRITY = 'sha512-PZorqQZjZx/A26yJoskCL9z0ib6AtkAyF0o4K/RHr8zRrJyXrUOCnMbjy0VNXsGO4tfTNMwqlkwATKs4a0xayw=='

// The published examples that our components are compared with (src/pages/components/tests.rs).
const EXAMPLES = {
  'back-link': ['default'],
  button: ['default', 'secondary', 'warning', 'secondary as a link'],
  checkboxes: ['without heading'],
  details: ['default'],
  'error-summary': ['default', 'with multiple errors'],
  header: ['with service name, account inline (logged in)'],
  input: ['without heading'],
  'inset-text': ['default'],
  'notification-banner': ['default', 'with success variant'],
  radios: ['without heading', 'with error message, without heading'],
  select: ['without heading', 'with error message, without heading'],
  'skip-link': ['default'],
  'summary-list': ['with item strings'],
  tag: ['default', 'with text escaping'],
  textarea: ['without heading', 'with error message, without heading'],
  'warning-callout': ['with custom heading']
}

const folder = mkdtempSync(join(tmpdir(), 'nhsuk-'))
try {
  const name = execFileSync('npm', ['pack', '--silent', `nhsuk-frontend@${VERSION}`], { cwd: folder, encoding: 'utf8' })
  const tarball = join(folder, name.trim().split('\n').pop())
  const found = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`
  if (found !== INTEGRITY) throw new Error(`the package has the integrity ${found}, not ${INTEGRITY}`)
  execFileSync('tar', ['xzf', tarball], { cwd: folder })
  const dist = join(folder, 'package/dist/nhsuk')
  const out = (file, text) => writeFileSync(new URL(`./nhsuk-frontend/${file}`, import.meta.url), text)

  const css = readFileSync(join(dist, `nhsuk-frontend-${VERSION}.min.css`), 'utf8')
    .replace(/@font-face\{[^}]*\}/g, '')
    .replaceAll('Frutiger W01,', '')
    .replace(/[^{}]*\{[^{}]*url\(\/assets\/images\/[^{}]*\}/g, '')
    .replace(/\n\/\*# sourceMappingURL=.*\*\/\s*$/, '\n')
  for (const word of ['Frutiger', 'url(', 'assets.nhs.uk', '@import']) {
    if (css.includes(word)) throw new Error(`${word} is left in the style sheet`)
  }
  out('nhsuk-frontend.css', css)

  const js = readFileSync(join(dist, `nhsuk-frontend-${VERSION}.min.js`), 'utf8')
  out('nhsuk-frontend.js', js.replace(/\n\/\/# sourceMappingURL=.*\s*$/, '\n'))

  const examples = []
  for (const [component, names] of Object.entries(EXAMPLES)) {
    const { fixtures } = JSON.parse(readFileSync(join(dist, 'components', component, 'fixtures.json'), 'utf8'))
    for (const name of names) {
      const example = fixtures.find((each) => each.name === name)
      if (!example) throw new Error(`${component} has no example "${name}"`)
      // The logo is not ours to keep, either.
      const html = example.html.replace(/\s*<svg class="nhsuk-header__logo"[^]*?<\/svg>/, '')
      examples.push({ component, name, html })
    }
  }
  out('examples.json', `${JSON.stringify(examples, null, 1)}\n`)
} finally {
  rmSync(folder, { recursive: true })
}
