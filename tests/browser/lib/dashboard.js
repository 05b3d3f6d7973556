// What every test of the dashboard watches, and how it looks at the page.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** A request that the test makes fail is a line of the browser's own, and no fault of the page. */
const EXPECTED = /Failed to load resource: (the server responded with a status of (400|401|404|429|503)|net::ERR_(EMPTY_RESPONSE|CONNECTION_(RESET|REFUSED)))/;

/** Collects what must not be: faults in the console, violations of the policy, requests to another origin. */
export function watch(page, origin) {
  const faults = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !EXPECTED.test(message.text())) faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`page: ${error.stack}`));
  page.on('dialog', (dialog) => { faults.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !url.startsWith('data:image/svg+xml')) faults.push(`request: ${url}`);
  });
  return faults;
}

/** To be added before the page is opened: what the policy refused is kept for the end. */
export async function watchPolicyOf(page) {
  await page.addInitScript(() => {
    window.refused = [];
    document.addEventListener('securitypolicyviolation', (event) => window.refused.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
}

export async function assertClean(page, faults) {
  assert.deepEqual(await page.evaluate(() => window.refused), [], 'the policy refused nothing');
  assert.deepEqual(faults, []);
}

/** Waits for text in an element. */
export function shows(page, selector, text, timeout = 15000) {
  return page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout });
}

/** The cells of a table's rows, by the caption of the table. */
export function rows(page, caption) {
  return page.evaluate((name) => {
    const table = [...document.querySelectorAll('table')].find((one) => one.caption?.textContent === name);
    return [...(table?.tBodies[0].rows ?? [])].map((row) => [...row.cells].map((cell) => cell.textContent));
  }, caption);
}

/** The titles of plots that show something. */
export function plotsWithData(page) {
  return page.evaluate(() => [...document.querySelectorAll('.plot')].filter((plot) => Number(plot.querySelector('.plot-picture').dataset.points) > 0
    && [...plot.querySelectorAll('path.line')].some((line) => line.getAttribute('d')?.length > 6)).map((plot) => plot.querySelector('h3').textContent));
}

/** What axe finds against WCAG 2.2 AA, or by `rules` alone: rule, and the places. */
export async function accessibilityFaults(page, rules = null) {
  await page.evaluate(AXE);
  const found = await page.evaluate((only) => window.axe.run(document, { runOnly: only ?? ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }), rules);
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary.slice(0, 200)}`).join(' | ')}`);
}

export function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/** Presses Tab from the top until the focus is where it began; gives what it reached, and whether each showed it. */
export async function tabWalk(page, most = 120) {
  const reached = [];
  for (let press = 0; press < most; press += 1) {
    await page.keyboard.press('Tab');
    const place = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return null;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      return { name: element.getAttribute('aria-label') ?? element.textContent.trim().slice(0, 60), tag: element.tagName, id: element.id, seen: outlineStyle !== 'none' && outlineWidth !== '0px' };
    });
    if (place === null) break;
    reached.push(place);
  }
  return reached;
}
