// Names and thumbnails of the gallery. Thumbnails lie in a few packs of many, which are loaded when they are needed
// and, once the page is ready, in the background, so that everything works offline.

import { download } from "./download.js";

/** Packs are not loaded in the background beyond this; a large gallery's thumbnails then come when they are shown. */
const MOST_BACKGROUND_BYTES = 64e6;

export class Gallery {
  /**
   * @param {{names: string[], ids: string[], thumbnails: {per_pack: number, packs: {path: string, bytes: number,
   *   offsets: number[]}[]}}} description
   */
  constructor({ names, ids, thumbnails }) {
    this.names = names;
    this.ids = ids;
    this.perPack = thumbnails.per_pack;
    this.packs = thumbnails.packs;
    this.loaded = new Map();
  }

  /**
   * @param {number} row
   * @returns {Promise<Blob>} a JPEG
   */
  async thumbnail(row) {
    const number = Math.floor(row / this.perPack);
    const bytes = await this.pack(number);
    const { offsets } = this.packs[number];
    const place = row % this.perPack;
    return new Blob([bytes.subarray(offsets[place], offsets[place + 1])], { type: "image/jpeg" });
  }

  /** Loads all packs one after the other, if they are not too many; says whether all are here. */
  async loadAll() {
    if (this.packs.reduce((sum, pack) => sum + pack.bytes, 0) > MOST_BACKGROUND_BYTES) {
      return false;
    }
    for (let number = 0; number < this.packs.length; number++) {
      await this.pack(number);
    }
    return true;
  }

  /** @private */
  pack(number) {
    if (!this.loaded.has(number)) {
      const loading = download(this.packs[number]);
      this.loaded.set(number, loading);
      loading.catch(() => this.loaded.delete(number));
    }
    return this.loaded.get(number);
  }
}
