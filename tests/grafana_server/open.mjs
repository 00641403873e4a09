// node open.mjs: opens dashboards of a Grafana server in Chromium as a viewer does. Reads {grafana, chromium, width,
// height, patience, jobs} as JSON from the standard input, where a job is {uid, from, to, variables}; writes one
// report a job as JSON to the standard output: what was asked of the data source, what each panel shows, what is cut.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

// The browser's library and the marks of Grafana's elements are those of tests/browser.
const { resolve } = createRequire(new URL('../browser/package.json', import.meta.url));
const { default: puppeteer } = await import(pathToFileURL(resolve('puppeteer-core')));

const { grafana, chromium, width, height, patience, jobs } = JSON.parse(readFileSync(0, 'utf8'));
const STEP = Math.round(height * 0.6);
const MOST_STEPS = 60;

const browser = await puppeteer.launch({
  executablePath: chromium,
  // No sandbox: it needs privileges that containers lack, and only our own pages are opened.
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--force-color-profile=srgb', '--no-proxy-server'],
});
const reports = [];
try {
  for (const job of jobs) {
    reports.push(await open(job));
  }
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(reports));

async function open(job) {
  const page = await browser.newPage();
  const complaints = [];
  const answers = [];
  const waiting = new Set();
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => asksData(request) && waiting.add(request));
  page.on('requestfailed', (request) => waiting.delete(request));
  page.on('response', async (response) => {
    const request = response.request();
    if (!asksData(request)) {
      if (response.status() >= 400 && /\/(api|apis)\/.*(datasources|dashboard)/.test(response.url())) {
        complaints.push(`${response.status()} ${response.url()}`);
      }
      return;
    }
    try {
      answers.push({
        panel: Number(request.headers()['x-panel-id'] ?? 0),
        body: JSON.parse(request.postData()),
        status: response.status(),
        answer: await response.json().catch(() => ({})),
      });
    } finally {
      waiting.delete(request);
    }
  });
  try {
    await page.setViewport({ width, height });
    const query = new URLSearchParams({ from: job.from, to: job.to, timezone: 'utc' });
    for (const [name, values] of Object.entries(job.variables ?? {})) {
      [values].flat().forEach((value) => query.append(`var-${name}`, value));
    }
    await page.goto(`${grafana}/d/${job.uid}?${query}`, { timeout: patience * 1000 });
    const panels = {};
    let before = '';
    for (let step = 0; step < MOST_STEPS; step += 1) {
      const seen = await settled(page, waiting);
      for (const panel of seen) {
        if (!(panels[panel.title]?.visible >= panel.visible)) {
          panels[panel.title] = panel; // as much of it as was ever on the screen
        }
      }
      const places = JSON.stringify(seen.map(({ title, top }) => [title, top]));
      if (places === before) {
        break; // the end of the page
      }
      before = places;
      await page.mouse.move(width / 2, height - 20);
      await page.mouse.wheel({ deltaY: STEP });
    }
    return { uid: job.uid, complaints, answers, panels: Object.values(panels) };
  } finally {
    await page.close();
  }
}

function asksData(request) {
  return request.method() === 'POST' && new URL(request.url()).pathname.endsWith('/api/ds/query');
}

// What is on the screen, once nothing is asked any more and it has been the same for a while.
async function settled(page, waiting) {
  const until = Date.now() + patience * 1000;
  let last = '';
  let same = 0;
  let seen = [];
  while (Date.now() < until) {
    await new Promise((wait) => setTimeout(wait, 250));
    seen = await page.evaluate(look);
    const text = JSON.stringify(seen);
    same = waiting.size === 0 && seen.length > 0 && text === last ? same + 1 : 0;
    if (same >= 3) {
      return seen;
    }
    last = text;
  }
  return seen;
}

// In the page: the panels that are on the screen. The marks are those of @grafana/e2e-selectors, since Grafana 11.1.
function look() {
  const HEADER = 'data-testid Panel header ';
  const panels = [];
  for (const section of document.querySelectorAll(`section[data-testid^="${HEADER}"]`)) {
    const box = section.getBoundingClientRect();
    if (box.bottom <= 0 || box.top >= window.innerHeight || !box.width) {
      continue;
    }
    const content = section.querySelector('[data-testid="data-testid panel content"]');
    panels.push({
      title: section.dataset.testid.slice(HEADER.length),
      top: Math.round(box.top),
      visible: (Math.min(box.bottom, window.innerHeight) - Math.max(box.top, 0)) / box.height,
      error: section.querySelector('[data-testid="data-testid Panel status error"]') !== null,
      text: content?.innerText ?? '',
      drawn: content !== null && (content.innerText.trim() !== '' || [...content.querySelectorAll('canvas')].some(inked)),
      cut: content ? cut(content) : [],
    });
  }
  return panels;

  function inked(canvas) {
    if (!canvas.width || !canvas.height) {
      return false;
    }
    const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
    for (let alpha = 3; alpha < data.length; alpha += 4) {
      if (data[alpha] > 0) {
        return true;
      }
    }
    return false;
  }

  // Texts that an element around them hides a part of. Rows that can be scrolled to are not cut, columns are: the
  // viewer of a table does not see that there are more. A legend may shorten its names.
  function cut(content) {
    const found = [];
    const texts = document.createTreeWalker(content, NodeFilter.SHOW_TEXT);
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
      const parent = node.parentElement;
      if (!node.data.trim() || parent.closest('[data-testid^="data-testid VizLegend"], script, style')) {
        continue;
      }
      const range = document.createRange();
      range.selectNodeContents(node);
      const text = range.getBoundingClientRect();
      if (!text.width || getComputedStyle(parent).visibility === 'hidden') {
        continue;
      }
      for (let around = parent; around; around = around === content ? null : around.parentElement) {
        const { overflowX, overflowY } = getComputedStyle(around);
        const box = around.getBoundingClientRect();
        if (overflowX !== 'visible' && box.width <= 1) {
          break; // for screen readers alone
        }
        const across = overflowX !== 'visible' && (text.right > box.right + 1 || text.left < box.left - 1);
        const below = ['hidden', 'clip'].includes(overflowY) && text.top < box.bottom && text.bottom > box.bottom + text.height / 3;
        if (across || below) {
          found.push(node.data.trim());
          break;
        }
      }
    }
    return found;
  }
}
