// Finds the neighbours of a photo: `node search.mjs retriever.onnx photo.jpg`.

import { readFile } from "node:fs/promises";
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";

// The resize that the student was trained with; sharp's own kernels move embeddings. Copy the file along.
import { resize } from "../../web/static/resize.js";

/** Returns a photo as the student takes it: upright, RGB without alpha, squashed to the square. */
async function pixelsOf(path, size) {
  const photo = sharp(path).rotate().toColourspace("srgb").removeAlpha().ensureAlpha();
  const { data, info } = await photo.raw().toBuffer({ resolveWithObject: true });
  return resize({ data, width: info.width, height: info.height }, size, false);
}

const [retriever, photo] = process.argv.slice(2);
const session = await InferenceSession.create(retriever, { logSeverityLevel: 3 });
const size = session.inputMetadata[session.inputNames.indexOf("image")].shape[1];
const image = new Tensor("uint8", await pixelsOf(photo, size), [1, size, size, 3]);
const { scores, ids } = await session.run({ image });
// The names of the rows lie beside the file.
const names = JSON.parse(await readFile(`${retriever}.json`, "utf8")).ids;
scores.data.forEach((score, place) => console.log(`${score.toFixed(4)}  ${names[Number(ids.data[place])]}`));
