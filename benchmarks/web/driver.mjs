// Clicks through the samples of a search page in headless Chromium.
// Usage: node driver.mjs CHROMIUM ADDRESS; each line of the standard input asks for one round over all samples,
// answered by one line of JSON: {click, decode, resize, embed, search}, lists of milliseconds.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../export/web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const [executablePath, address] = process.argv.slice(2);
const QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", ...QUIET],
});
const page = await browser.newPage();
await page.goto(address);
await page.waitForFunction(() => document.body.dataset.state !== "loading", null, { timeout: 60_000 });
// “Loaded” is said before thumbnails come in the background; the byte count of the server ends here.
console.log(JSON.stringify({ state: await page.evaluate(() => document.body.dataset.state) }));
await page.waitForFunction(() => document.body.dataset.offline, null, { timeout: 60_000 });

await page.evaluate(() => {
  window.clicks = [];
  const list = document.getElementById("neighbours");
  document.addEventListener(
    "click",
    ({ timeStamp }) => {
      const observer = new MutationObserver(() => {
        observer.disconnect();
        // The task after the next frame: the neighbours are on the screen.
        requestAnimationFrame(() => setTimeout(() => window.clicks.push(performance.now() - timeStamp)));
      });
      observer.observe(list, { childList: true });
    },
    true,
  );
});

async function round() {
  const times = { click: [], decode: [], resize: [], embed: [], search: [] };
  for (const button of await page.$$("#samples button")) {
    const before = await page.evaluate(() => window.clicks.length);
    await button.click();
    await page.waitForFunction((count) => window.clicks.length > count, before);
    const seen = await page.evaluate(() => ({
      click: window.clicks.at(-1),
      ...Object.fromEntries(
        [...document.querySelectorAll("#times div")].map(({ children: [name, time] }) => [
          name.textContent,
          parseFloat(time.textContent),
        ]),
      ),
    }));
    for (const name of Object.keys(times)) {
      times[name].push(seen[name]);
    }
  }
  return times;
}

const requests = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
while (!(await requests.next()).done) {
  console.log(JSON.stringify(await round()));
}
await browser.close();
