// One search: photo in, neighbours and times out. Knows nothing of the page.

import { Additions } from "./additions.js";
import { decode } from "./decode.js";
import { download, Progress } from "./download.js";
import { Engine } from "./engine.js";
import { Gallery } from "./gallery.js";
import { resize } from "./resize.js";

export class PhotoSearch {
  /** @private use `PhotoSearch.load` */
  constructor(site, engine, gallery, additions, loadedFiles) {
    this.site = site;
    this.engine = engine;
    this.gallery = gallery;
    this.additions = additions;
    /** @type {{path: string, bytes: number}[]} */
    this.loadedFiles = loadedFiles;
  }

  get loadedBytes() {
    return sumOfBytes(this.loadedFiles);
  }

  /**
   * Loads everything but thumbnails.
   * @param {object} site the content of site.json
   * @param {(done: number, total: number) => void} listener is told of progress in bytes
   */
  static async load(site, listener) {
    const files = await Engine.files(site);
    const loadedFiles = [...Object.values(files), site.gallery];
    const progress = new Progress(sumOfBytes(loadedFiles), listener);
    const [engine, description] = await Promise.all([
      Engine.load(files, site.image_size, progress),
      download(site.gallery, progress),
    ]);
    const gallery = new Gallery(JSON.parse(new TextDecoder().decode(description)));
    const search = new PhotoSearch(site, engine, gallery, await Additions.open(site.model), loadedFiles);
    await search.warmUp();
    return search;
  }

  /**
   * Runs on a picture of its own: the first runs allocate and compile, and a visitor should not wait for that.
   * @private
   */
  async warmUp() {
    const canvas = new OffscreenCanvas(400, 300);
    canvas.getContext("2d").fillRect(0, 0, 200, 300);
    const photo = await canvas.convertToBlob({ type: "image/jpeg" });
    for (let round = 0; round < 3; round++) {
      await this.run(photo, "warm-up");
    }
  }

  /**
   * @param {Blob} blob a photo
   * @param {string} name stands in messages
   * @param {number | null} ownRow the gallery's row that is this very photo, which is left out
   * @returns {Promise<{embedding: Float32Array, neighbours: object[], times: Record<string, number>}>} neighbours
   *   `{name, score, row | addition}`, best first; times in milliseconds
   * @throws {import("./decode.js").BadPhoto}
   */
  async run(blob, name, ownRow = null) {
    const start = performance.now();
    const image = await decode(blob, name);
    const decoded = performance.now();
    const pixels = resize(image, this.site.image_size, this.site.tall_first);
    const resized = performance.now();
    const embedding = await this.engine.embed(pixels);
    const embedded = performance.now();
    const neighbours = await this.neighbours(embedding, ownRow);
    const searched = performance.now();
    const times = {
      decode: decoded - start,
      resize: resized - decoded,
      embed: embedded - resized,
      search: searched - embedded,
    };
    return { embedding, neighbours, times };
  }

  /** @private */
  async neighbours(embedding, ownRow) {
    const rows = (await this.engine.search(embedding)).filter(({ row }) => row !== ownRow);
    const stored = rows.map(({ row, score }) => ({ row, score, name: this.gallery.names[row] }));
    const added = this.additions.search(embedding).map((found) => ({ ...found, name: found.addition.name }));
    return [...stored, ...added].sort((a, b) => b.score - a.score).slice(0, this.site.shown);
  }
}

function sumOfBytes(files) {
  return files.reduce((sum, file) => sum + file.bytes, 0);
}
