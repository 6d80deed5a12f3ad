// Resizes pictures given as JSON on the standard input: [{width, height, size, tallFirst, data (base64 RGBA)}].
import { readFileSync } from "node:fs";
import { resize } from "../../export/web/static/resize.js";

const results = JSON.parse(readFileSync(0, "utf-8")).map(({ width, height, size, tallFirst, data }) => {
  const image = { width, height, data: new Uint8ClampedArray(Buffer.from(data, "base64")) };
  return Buffer.from(resize(image, size, tallFirst)).toString("base64");
});
process.stdout.write(JSON.stringify(results));
