// Photos that the visitor added to the gallery: kept by the browser (IndexedDB), on this machine only.

const STORE = "photos";

export class Additions {
  /** @private use `Additions.open` */
  constructor(database, items) {
    this.database = database;
    /** @type {{key: number, name: string, embedding: Float32Array, thumbnail: Blob}[]} in order of adding */
    this.items = items;
  }

  /**
   * @param {string} model digest of the student: embeddings of another student cannot be compared, so each has its own
   *   database
   */
  static async open(model) {
    const request = indexedDB.open(`kdistill-${model}`, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key", autoIncrement: true });
    const database = await settled(request);
    return new Additions(database, await settled(database.transaction(STORE).objectStore(STORE).getAll()));
  }

  /**
   * @param {string} name
   * @param {Float32Array} embedding
   * @param {Blob} thumbnail
   */
  async add(name, embedding, thumbnail) {
    const item = { name, embedding, thumbnail };
    item.key = await this.write((store) => store.add(item));
    this.items.push(item);
  }

  /** @param {number} key */
  async remove(key) {
    await this.write((store) => store.delete(key));
    this.items = this.items.filter((item) => item.key !== key);
  }

  /**
   * @param {Float32Array} embedding
   * @returns {{addition: object, score: number}[]} every added photo with its cosine
   */
  search(embedding) {
    return this.items.map((item) => ({
      addition: item,
      score: item.embedding.reduce((sum, value, index) => sum + value * embedding[index], 0),
    }));
  }

  /** @private */
  write(action) {
    const transaction = this.database.transaction(STORE, "readwrite");
    const request = action(transaction.objectStore(STORE));
    // Only a complete transaction is on disk; a full disk fails here and not at the request.
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
