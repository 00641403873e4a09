// node render.mjs: draws dashboards in Chromium. Reads {prometheus, dashboards, chromium, jobs} as JSON from the
// standard input, writes one report a job as JSON to the standard output, and PNGs where a job names a file.
import { createReadStream, existsSync, readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import puppeteer from 'puppeteer-core';

const here = dirname(fileURLToPath(import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json' };
const EMPTY_ICON = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"/>';
const WIDTH = 1280;
const PATIENCE = 60_000;
const AT_ONCE = 2;

const { prometheus, dashboards, chromium, jobs } = JSON.parse(readFileSync(0, 'utf8'));

const server = createServer((request, response) => {
  const path = normalize(new URL(request.url, 'http://x').pathname);
  const file = path.startsWith('/dashboards/')
    ? join(dashboards, path.slice('/dashboards/'.length))
    : join(here, 'dist', path === '/' ? 'index.html' : path);
  // Grafana draws some icons from files that are not in its library.
  if (path === '/favicon.ico' || (path.startsWith('/public/build/img/icons/') && !existsSync(file))) {
    response.writeHead(200, { 'content-type': TYPES['.svg'] }).end(EMPTY_ICON);
    return;
  }
  if (path === '/dashboards/') {
    const found = readdirSync(dashboards).filter((name) => name.endsWith('.json'));
    const named = found.map((name) => JSON.parse(readFileSync(join(dashboards, name), 'utf8')));
    response.writeHead(200, { 'content-type': TYPES['.json'] });
    response.end(JSON.stringify(named.map(({ uid, title, tags }) => ({ uid, title, tags }))));
    return;
  }
  if (!existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  // What is cached is compiled once for all pages.
  response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'cache-control': 'max-age=3600' });
  createReadStream(file).pipe(response);
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));

const browser = await puppeteer.launch({
  executablePath: chromium,
  // No sandbox: it needs privileges that containers lack, and only our own pages are opened.
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--force-color-profile=srgb', '--no-proxy-server'],
});
const reports = [];
try {
  const waiting = [...jobs.entries()];
  const drawing = async () => {
    // A window each: what is drawn in the background of another is drawn slowly.
    const window = await browser.createBrowserContext();
    let page, opened;
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [at, job] = next;
      const needed = JSON.stringify([job.browserZone, job.theme]);
      // To load the libraries takes longer than to draw: a page is used again where it can be.
      if (opened !== needed) {
        await page?.close();
        page = await open(window, job);
        opened = needed;
      }
      reports[at] = await draw(page, job);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, drawing));
} finally {
  await browser.close();
  server.close();
}
process.stdout.write(JSON.stringify(reports));

async function open(window, job) {
  const page = await window.newPage();
  if (job.browserZone) {
    await page.emulateTimezone(job.browserZone);
  }
  const query = new URLSearchParams({ prometheus, theme: job.theme ?? 'dark' });
  await page.goto(`http://127.0.0.1:${server.address().port}/?${query}`);
  await page.waitForFunction(() => window.show);
  return page;
}

async function draw(page, job) {
  const complaints = [];
  for (const event of ['pageerror', 'console', 'response']) {
    page.removeAllListeners(event); // of the job before
  }
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('response', (response) => response.status() >= 400 && complaints.push(`${response.status()} ${response.url()}`));
  await page.setViewport({ width: job.width ?? WIDTH, height: job.height ?? heightOf(job.dashboard) });
  const query = new URLSearchParams({ dashboard: job.dashboard });
  for (const name of ['from', 'to', 'timezone']) {
    if (job[name]) {
      query.set(name, job[name]);
    }
  }
  for (const title of job.panels ?? []) {
    query.append('panel', title);
  }
  for (const [name, values] of Object.entries(job.variables ?? {})) {
    [values].flat().forEach((value) => query.append(`var-${name}`, value));
  }
  await page.evaluate((search) => window.show(search), String(query));
  const report = await settled(page, complaints);
  if (job.png) {
    await page.screenshot({ path: job.png });
  }
  const widths = {};
  for (const width of job.widths ?? []) {
    await page.setViewport({ width, height: job.height ?? heightOf(job.dashboard) });
    widths[width] = await settled(page, complaints);
  }
  return { ...report, widths, complaints };
}

// The report once it has been the same for a while: charts are drawn a moment after their data.
async function settled(page, complaints) {
  const until = Date.now() + PATIENCE;
  let last = '';
  while (Date.now() < until) {
    await new Promise((wait) => setTimeout(wait, 150));
    const report = await page.evaluate(() => window.report?.(false) ?? null);
    const text = JSON.stringify(report);
    if (report && text === last) {
      return page.evaluate(() => window.report(true));
    }
    last = text;
  }
  throw new Error(`not settled within ${PATIENCE / 1000} s; the page says: ${complaints.join('; ') || last.slice(0, 500)}`);
}

// All of a dashboard, so that every panel is on the screen.
function heightOf(name) {
  const { panels } = JSON.parse(readFileSync(join(dashboards, `${name}.json`), 'utf8'));
  return 100 + 38 * Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
}
