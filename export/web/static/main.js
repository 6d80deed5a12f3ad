// Wires the page: where photos come from, what happens to them, what is shown.

import { openCamera } from "./camera.js";
import { BadPhoto } from "./decode.js";
import { keepOffline, stored } from "./offline.js";
import { PhotoSearch } from "./photo-search.js";
import * as view from "./view.js";

/** The photo that is shown: what “Add to the gallery” adds. */
let shown = null;
let newest = 0;

async function start() {
  view.loading();
  await keepOffline();
  const response = await fetch("site.json");
  if (!response.ok) {
    throw new Error(`site.json could not be loaded (status ${response.status}).`);
  }
  const site = await response.json();
  view.describe(site);
  const search = await PhotoSearch.load(site, view.progress);
  view.samples(site.samples, (sample) => attempt(() => searchSample(search, sample)));
  view.additions(search.additions.items, (key) => attempt(() => remove(search, key)));
  listen(search);
  view.ready(search.loadedBytes, site);
  // Last, since nothing waits for it.
  isWhole(search, site).then(view.offline, () => view.offline(false));
  return search;
}

/** Fetches what was not needed yet, and says whether the page works without a network from now on. */
async function isWhole(search, site) {
  if (!(await search.gallery.loadAll())) {
    return false;
  }
  await Promise.all(site.samples.map((sample) => fetch(sample.path)));
  const files = [...site.samples, ...search.gallery.packs, ...search.loadedFiles];
  return stored(files.map((file) => file.path));
}

function listen(search) {
  const file = view.element("file");
  const searchFirst = (files) => files[0] && attempt(() => searchPhoto(search, files[0], files[0].name));
  file.addEventListener("change", () => {
    searchFirst([...file.files]);
    file.value = ""; // the same file may be chosen again
  });
  document.addEventListener("paste", (event) => searchFirst([...event.clipboardData.files]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    view.dropping(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? view.dropping(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    view.dropping(false);
    searchFirst([...event.dataTransfer.files]);
  });
  view.element("open-camera").addEventListener("click", () =>
    attempt(async () => {
      const photo = await openCamera(view.element("camera"));
      return photo && searchPhoto(search, photo, "photo from the camera");
    }),
  );
  view.element("add").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => add(search, view.element("name").value.trim()));
  });
}

async function searchSample(search, sample) {
  const response = await fetch(sample.path);
  await searchPhoto(search, await response.blob(), sample.name, sample.row);
}

async function searchPhoto(search, blob, name, ownRow = null) {
  const turn = ++newest;
  const result = await search.run(blob, name, ownRow);
  // A slow photo must not cover the answer to a later one.
  if (turn === newest) {
    shown = { blob, name, ownRow, embedding: result.embedding };
    view.result(shown, result, search.gallery);
  }
}

async function add(search, name) {
  if (name && shown) {
    await search.additions.add(name, shown.embedding, await view.thumbnail(shown.blob));
    view.element("name").value = "";
    await galleryChanged(search);
  }
}

async function remove(search, key) {
  await search.additions.remove(key);
  await galleryChanged(search);
}

async function galleryChanged(search) {
  view.additions(search.additions.items, (key) => attempt(() => remove(search, key)));
  if (shown) {
    await searchPhoto(search, shown.blob, shown.name, shown.ownRow);
  }
}

/** Runs an action of the visitor and says what went wrong with it. */
async function attempt(action) {
  view.problem("");
  try {
    await action();
  } catch (error) {
    view.problem(error instanceof BadPhoto ? error.message : `That did not work: ${error.message}`);
  }
}

/** Resolves to the loaded search. */
export const ready = start();
ready.catch((error) => view.failed(error));
