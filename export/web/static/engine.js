// The student and the search, as two LiteRT models on one thread of the processor.

import { download } from "./download.js";
import { loadAndCompile, loadLiteRt, supportsFeature, Tensor } from "./runtime/litert.js";

export class Engine {
  /** @private use `Engine.load` */
  constructor(embedder, searcher, imageSize) {
    this.embedder = embedder;
    this.searcher = searcher;
    this.imageSize = imageSize;
  }

  /** The files that `load` will fetch: which build of the runtime depends on the browser. */
  static async files(site) {
    const runtime = (await supportsFeature("relaxedSimd")) ? site.runtime.fast : site.runtime.compatible;
    return { glue: runtime.glue, wasm: runtime.wasm, embedder: site.embedder, searcher: site.searcher };
  }

  /**
   * @param {object} files from `Engine.files`
   * @param {number} imageSize side in pixels of the student's input
   * @param {import("./download.js").Progress} progress
   */
  static async load(files, imageSize, progress) {
    const [wasmBinary, embedderBytes, searcherBytes] = await Promise.all(
      [files.wasm, files.embedder, files.searcher].map((file) => download(file, progress)),
    );
    // The runtime's loader takes its settings from this global: the bytes that are here already, and where to
    // write its notes, which are no errors.
    self.Module = { wasmBinary, print: console.debug, printErr: console.debug };
    await loadLiteRt(new URL(files.glue.path, document.baseURI).href);
    const options = { accelerator: "wasm" };
    const embedder = await loadAndCompile(embedderBytes, options);
    const searcher = await loadAndCompile(searcherBytes, options);
    return new Engine(embedder, searcher, imageSize);
  }

  /**
   * @param {Uint8Array} pixels RGB, imageSize x imageSize
   * @returns {Promise<Float32Array>} the embedding, of norm 1
   */
  async embed(pixels) {
    const [embedding] = await run(this.embedder, new Tensor(pixels, [1, this.imageSize, this.imageSize, 3]));
    return embedding;
  }

  /**
   * @param {Float32Array} embedding
   * @returns {Promise<{row: number, score: number}[]>} the nearest rows of the gallery, best first
   */
  async search(embedding) {
    const [scores, rows] = await run(this.searcher, new Tensor(embedding, [1, embedding.length]));
    return Array.from(rows, (row, rank) => ({ row, score: scores[rank] }));
  }
}

async function run(model, input) {
  // By name, since the order of outputs is the converter's.
  const [{ name }] = model.getInputDetails();
  const outputs = await model.run({ [name]: input });
  input.delete();
  return ["embedding", "scores", "ids"]
    .filter((key) => key in outputs)
    .map((key) => {
      const values = outputs[key].toTypedArray();
      outputs[key].delete();
      return values;
    });
}
