// Drives the page (or any page) in headless Chromium and tells what it saw; the judging is done in Python.
// Usage: node page.mjs CHROMIUM; each line of the standard input is a JSON object {scenario, address, ...arguments of the
// scenario}, answered by one line: {seen} or {failed}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../export/web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

let given;

const QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

/** Opens a page that remembers errors and requests. */
async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 800 }, ...options });
  const page = await context.newPage();
  const seen = { errors: [], requests: [] };
  page.on("console", (message) => {
    if (message.type() === "error") {
      seen.errors.push(`${message.text()} (${message.location().url})`);
    }
  });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  context.on("request", (request) => seen.requests.push({ url: request.url(), method: request.method() }));
  return { context, page, seen };
}

async function load(page) {
  await page.goto(given.address);
  await page.waitForFunction(() => document.body.dataset.state !== "loading", null, { timeout: 30_000 });
}

/** Waits for the answer to the photo called `name` and reads it off the page. */
async function answer(page, name) {
  await page.waitForFunction((expected) => document.getElementById("query-name").textContent === expected, name, {
    timeout: 10_000,
  });
  // Pictures come after names.
  await page.waitForFunction(
    () => [...document.querySelectorAll("#neighbours img")].every((image) => image.complete && image.naturalWidth),
    null,
    { timeout: 10_000 },
  );
  return shown(page);
}

function shown(page) {
  return page.evaluate(() => ({
    neighbours: [...document.querySelectorAll("#neighbours li")].map((item) => ({
      id: item.title,
      name: item.querySelector(".name").textContent,
      score: Number(item.querySelector(".score").textContent),
      mine: item.classList.contains("mine"),
    })),
    times: Object.fromEntries(
      [...document.querySelectorAll("#times div")].map((pair) => [
        pair.children[0].textContent,
        pair.children[1].textContent,
      ]),
    ),
    leftOut: !document.getElementById("left-out").hidden,
    problem: document.getElementById("problem").hidden ? "" : document.getElementById("problem").textContent,
    additions: [...document.querySelectorAll("#additions .name")].map((element) => element.textContent),
    overflow: document.documentElement.scrollWidth - window.innerWidth,
  }));
}

/** Drops or pastes a file as a visitor would. */
async function give(page, path, kind) {
  await page.evaluate(
    ({ bytes, name, kind }) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], name));
      const event =
        kind === "paste"
          ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
          : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    },
    { bytes: [...readFileSync(path)], name: basename(path), kind },
  );
}

const choose = (page, path) => page.setInputFiles("#file", path);

const scenarios = {
  /** Loads, clicks every sample, and reads everything off the page. */
  async samples(browser) {
    const { page, seen } = await open(browser);
    await load(page);
    const texts = await page.evaluate(() => ({
      title: document.title,
      heading: document.getElementById("title").textContent,
      loaded: document.getElementById("loaded").textContent,
      state: document.body.dataset.state,
    }));
    const samples = await page.$$eval("#samples button", (buttons) => buttons.map((button) => button.title));
    const answers = [];
    for (let index = 0; index < samples.length; index++) {
      await page.click(`#samples li:nth-child(${index + 1}) button`);
      answers.push(await answer(page, samples[index]));
    }
    return { ...seen, ...texts, samples, answers };
  },

  /** Embeddings and rows, for each given file, straight from the page's own modules. */
  async embeddings(browser) {
    const { page, seen } = await open(browser);
    await load(page);
    const results = {};
    for (const path of given.files) {
      results[basename(path)] = await page.evaluate(
        async ({ bytes, name }) => {
          const search = await (await import("./main.js")).ready;
          const { embedding, neighbours } = await search.run(new Blob([new Uint8Array(bytes)]), name);
          return { embedding: [...embedding], rows: neighbours.map(({ row }) => row) };
        },
        { bytes: [...readFileSync(path)], name: basename(path) },
      );
    }
    return { ...seen, results };
  },

  /** A search with the build of the runtime for browsers without relaxed SIMD. */
  async compatible(browser) {
    const { page, seen } = await open(browser, { serviceWorkers: "block" });
    await page.route("**/site.json", async (route) => {
      const site = await (await route.fetch()).json();
      site.runtime.fast = site.runtime.compatible;
      await route.fulfill({ json: site });
    });
    await load(page);
    await page.click("#samples li:first-child button");
    return { ...seen, view: await answer(page, given.sample) };
  },

  /** Drops, pastes and chooses files, good and bad, one after the other. */
  async files(browser) {
    const { page, seen } = await open(browser);
    await load(page);
    const results = {};
    for (const path of given.files) {
      const name = basename(path);
      for (const kind of ["drop", "paste", "choose"]) {
        await page.click("#samples li:first-child button");
        await answer(page, given.sample);
        await (kind === "choose" ? choose(page, path) : give(page, path, kind));
        await page.waitForFunction(
          (expected) =>
            document.getElementById("query-name").textContent === expected ||
            !document.getElementById("problem").hidden,
          name,
          { timeout: 10_000 },
        );
        const view = await shown(page);
        results[`${kind} ${name}`] = view.problem ? view : await answer(page, name);
      }
    }
    // After all the bad ones, a good one clears the message.
    await page.click("#samples li:first-child button");
    return { ...seen, results, last: await answer(page, given.sample) };
  },

  /** Adds a photo, finds it, reloads, finds it, removes it, reloads. */
  async additions(browser) {
    const { page, seen } = await open(browser);
    const name = basename(given.file);
    const states = {};
    const search = async (state) => {
      await choose(page, given.file);
      states[state] = await answer(page, name);
    };
    await load(page);
    await search("before");
    await page.fill("#name", given.name);
    await page.click("#add button");
    await page.waitForSelector("#neighbours li.mine");
    states.added = await answer(page, name);
    await load(page);
    await search("reloaded");
    await page.click("#additions button");
    await page.waitForFunction(() => !document.querySelector("#neighbours li.mine"));
    states.removed = await answer(page, name);
    await load(page);
    await search("reloaded after removal");
    return { ...seen, states };
  },

  /** Loads once, cuts the network, loads again. */
  async offline(browser) {
    const { context, page, seen } = await open(browser);
    await load(page);
    await page.waitForFunction(() => document.body.dataset.offline === "yes", null, { timeout: 20_000 });
    const missing = await page.evaluate(async () => {
      const { samples } = await (await fetch("site.json")).json();
      const stored = await Promise.all(samples.map((sample) => caches.match(sample.path)));
      return samples.filter((_, index) => !stored[index]).map((sample) => sample.path);
    });
    await context.setOffline(true);
    const reachable = await page.evaluate(() =>
      fetch("not-stored").then(
        () => true,
        () => false,
      ),
    );
    await load(page);
    const state = await page.evaluate(() => document.body.dataset.state);
    await page.click("#samples li:nth-child(2) button");
    const view = await answer(page, given.sample);
    // The request that was made to fail is reported as an error.
    return { errors: seen.errors.filter((text) => !text.includes("not-stored")), missing, reachable, state, view };
  },

  /** Takes a photo with the browser's fake camera, and cancels one. */
  async camera(browser) {
    const { page, seen } = await open(browser, { permissions: ["camera"] });
    await load(page);
    const dialog = () => page.evaluate(() => document.getElementById("camera").open);
    await page.click("#open-camera");
    await page.waitForFunction(() => document.getElementById("viewfinder").videoWidth > 0);
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => !document.getElementById("camera").open);
    const cancelled = await shown(page);
    await page.click("#open-camera");
    await page.waitForFunction(() => document.getElementById("viewfinder").videoWidth > 0);
    const opened = await dialog();
    await page.click("#shutter");
    const view = await answer(page, "photo from the camera");
    const running = await page.evaluate(() => document.getElementById("viewfinder").srcObject !== null);
    return { ...seen, cancelled, opened, closed: !(await dialog()), running, view };
  },

  /** No camera: a sentence, not a silence. */
  async refused(browser) {
    const { page, seen } = await open(browser);
    await load(page);
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("denied", "NotAllowedError"));
    });
    await page.click("#open-camera");
    await page.waitForSelector("#problem:not([hidden])");
    return { ...seen, ...(await shown(page)) };
  },

  /** Everything by keyboard: which controls Tab reaches, and a search by Enter. */
  async keyboard(browser) {
    const { page, seen } = await open(browser);
    await load(page);
    const reached = [];
    for (let presses = 0; presses < 5; presses++) {
      await page.keyboard.press("Tab");
      reached.push(
        await page.evaluate(() => {
          const { id, title, tagName } = document.activeElement;
          const outline = getComputedStyle(
            id === "file" ? document.querySelector("label[for=file]") : document.activeElement,
          ).outlineStyle;
          return { name: id || title || tagName, outline };
        }),
      );
    }
    await page.keyboard.press("Enter");
    const view = await answer(page, reached.at(-1).name);
    return { ...seen, reached, view };
  },

  /** A narrow screen in dark mode. */
  async narrow(browser) {
    const { page, seen } = await open(browser, { viewport: { width: 340, height: 700 }, colorScheme: "dark" });
    await load(page);
    await page.click("#samples li:first-child button");
    const view = await answer(page, given.sample);
    const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    return { ...seen, view, background };
  },

  /** What the Content-Security-Policy keeps the page from doing. */
  async policy(browser) {
    const { page, seen } = await open(browser);
    await load(page);
    const outcome = await page.evaluate(async (foreign) => {
      const blocked = [];
      document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
      const sent = await fetch(foreign, { method: "POST", body: "photo" }).then(
        () => true,
        () => false,
      );
      new Image().src = `${foreign}?photo`;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return { sent, blocked };
    }, given.foreign);
    return { requests: seen.requests, ...outcome };
  },

  /** A site with one file missing. */
  async broken(browser) {
    const { page } = await open(browser, { serviceWorkers: "block" });
    await page.route("**/models/*", (route) => route.fulfill({ status: 404 }));
    await load(page);
    return page.evaluate(() => ({
      state: document.body.dataset.state,
      problem: document.getElementById("problem").textContent,
    }));
  },

  /** Any page from a file: pictures, errors, requests. */
  async file(browser) {
    const views = {};
    for (const [name, width] of Object.entries({ wide: 1200, narrow: 360 })) {
      const { page, seen } = await open(browser, { viewport: { width, height: 800 } });
      await page.goto(given.address);
      views[name] = await page.evaluate(() => ({
        pictures: document.images.length,
        broken: [...document.images].filter((image) => !image.naturalWidth).length,
        charts: document.querySelectorAll("svg").length,
        overflow: document.documentElement.scrollWidth - window.innerWidth,
      }));
      Object.assign(views[name], seen);
    }
    return views;
  },
};

// Chromium as root, as in CI, has no sandbox of its own.
const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", ...QUIET, ...FAKE_CAMERA],
});
for await (const line of createInterface({ input: process.stdin })) {
  given = JSON.parse(line);
  let outcome;
  try {
    outcome = { seen: await scenarios[given.scenario](browser) };
  } catch (error) {
    outcome = { failed: error.stack };
  }
  await Promise.all(browser.contexts().map((context) => context.close()));
  console.log(JSON.stringify(outcome));
}
await browser.close();
