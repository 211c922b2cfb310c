// node shoot.mjs DATA OUT CHROMIUM: builds the page, draws every DATA/*.json with it and writes OUT/NAME.png.
// Says on stderr what the page complained of; exits with 1 if it threw.
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { build, preview } from 'vite';
import { chromium } from 'playwright-core';

const [data, out, executablePath] = process.argv.slice(2);
const root = path.join(import.meta.dirname, 'page');
const outDir = path.join(data, 'site');
const settings = { root, logLevel: 'error', configFile: false, esbuild: { jsx: 'automatic' } };
// @grafana/ui's own modules name an export that one of them does not have; nothing here uses it.
const rollupOptions = { shimMissingExports: true };
const options = { outDir, emptyOutDir: true, minify: false, reportCompressedSize: false, rollupOptions };
await build({ ...settings, build: options, define: { 'process.env': {} } });
const server = await preview({ ...settings, build: { outDir }, preview: { host: '127.0.0.1', port: 0 } });
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
let failed = false;
try {
  for (const file of (await readdir(data)).filter((name) => name.endsWith('.json')).sort()) {
    const board = JSON.parse(await readFile(path.join(data, file), 'utf-8'));
    const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
    page.on('pageerror', (error) => {
      failed = true;
      console.error(`${file}: ${error.stack}`);
    });
    await page.addInitScript((given) => (window.BOARD = given), board);
    await page.goto(server.resolvedUrls.local[0]);
    const element = page.locator('#board');
    await element.waitFor();
    await page.waitForTimeout(1500);
    await element.screenshot({ path: path.join(out, file.replace('.json', '.png')) });
    await page.close();
  }
} finally {
  await browser.close();
  await server.close();
}
process.exit(failed ? 1 : 0);
