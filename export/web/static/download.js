// Downloads with progress. Large files are stored gzipped, so that a server which does not compress serves them small.

/** Counts bytes over several downloads and tells a listener. */
export class Progress {
  /**
   * @param {number} total bytes as stored on the server
   * @param {(done: number, total: number) => void} listener
   */
  constructor(total, listener) {
    this.total = total;
    this.done = 0;
    this.listener = listener;
  }

  /** @param {number} bytes */
  add(bytes) {
    // A server that compresses on its own makes the browser count unpacked bytes: never show more than all.
    this.done = Math.min(this.done + bytes, this.total);
    this.listener(this.done, this.total);
  }
}

/**
 * @param {{path: string}} file of the site's description
 * @param {Progress} [progress]
 * @returns {Promise<Uint8Array>} the bytes, unpacked if they are gzipped
 */
export async function download(file, progress) {
  const response = await fetch(file.path);
  if (!response.ok) {
    throw new Error(`${file.path} could not be loaded (status ${response.status}).`);
  }
  const counter = new TransformStream({
    transform(chunk, controller) {
      progress?.add(chunk.byteLength);
      controller.enqueue(chunk);
    },
  });
  const bytes = await readAll(response.body.pipeThrough(counter));
  // By content, not by name: some servers announce .gz as an encoding, and then the browser has unpacked it already.
  const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return packed ? readAll(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))) : bytes;
}

async function readAll(stream) {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
