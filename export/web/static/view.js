// What the visitor sees; no decisions. Names come from outside and are only ever set as text.

const THUMBNAIL_SIDE = 96;

/** @param {string} id */
export function element(id) {
  return document.getElementById(id);
}

/** Title and a sentence on what is searched. */
export function describe(site) {
  document.title = site.title;
  element("title").textContent = site.title;
  const count = site.gallery_size.toLocaleString("en");
  element("about").textContent =
    `Finds the nearest of ${count} pictures. Your photos stay on this machine: the search runs inside this page.`;
}

/** The page's code runs; what it needs is not here yet. */
export function loading() {
  element("progress-text").textContent = "Loading";
}

/** Progress of loading, in bytes. */
export function progress(done, total) {
  element("progress").value = done / total;
  element("progress-text").textContent =
    done < total ? `Loading, ${megabytes(done)} of ${megabytes(total)}` : "Starting the search";
}

/** Everything is loaded. */
export function ready(bytes, site) {
  document.body.dataset.state = "ready";
  element("loading").hidden = true;
  element("ask").hidden = false;
  element("loaded").textContent =
    `Loaded ${megabytes(bytes)}: runtime ${megabytes(bytes - site.embedder.bytes - site.searcher.bytes - site.gallery.bytes)}, ` +
    `student ${megabytes(site.embedder.bytes)}, gallery ${megabytes(site.searcher.bytes + site.gallery.bytes)}.`;
}

/** Loading failed for good. */
export function failed(error) {
  document.body.dataset.state = "failed";
  element("loading").hidden = true;
  problem(`The search could not be loaded: ${error.message}`);
}

/** Whether the page now works without a network. */
export function offline(works) {
  document.body.dataset.offline = works ? "yes" : "no";
  element("offline").textContent = works ? "This page now works without a network." : "";
}

/** Says what is wrong; an empty text clears it. */
export function problem(text) {
  element("problem").textContent = text;
  element("problem").hidden = !text;
}

/** Marks the place for dropping. */
export function dropping(active) {
  element("drop").classList.toggle("active", active);
}

/** The strip of samples. */
export function samples(list, choose) {
  element("samples").replaceChildren(
    ...list.map((sample) => {
      const button = make("button", { type: "button", title: sample.name });
      button.append(make("img", { src: sample.path, alt: sample.name, loading: "lazy" }));
      button.addEventListener("click", () => choose(sample));
      return wrapped(button);
    }),
  );
  element("samples-title").hidden = list.length === 0;
}

/**
 * The answer to a photo.
 * @param {{blob: Blob, name: string, ownRow: number | null}} photo
 * @param {{neighbours: object[], times: Record<string, number>}} answer
 * @param {import("./gallery.js").Gallery} gallery
 */
export function result(photo, { neighbours, times }, gallery) {
  const query = element("query");
  showBlob(query, photo.blob);
  query.alt = `Your photo: ${photo.name}`;
  element("query-name").textContent = photo.name;
  const total = Object.values(times).reduce((sum, time) => sum + time, 0);
  element("times").replaceChildren(
    ...Object.entries({ ...times, total }).map(([name, time]) => {
      const pair = make("div", {});
      pair.append(make("dt", { textContent: name }), make("dd", { textContent: `${time.toFixed(1)} ms` }));
      return pair;
    }),
  );
  element("left-out").hidden = photo.ownRow === null;
  element("neighbours").replaceChildren(
    ...neighbours.map((neighbour) => {
      const image = make("img", { alt: "", width: THUMBNAIL_SIDE, height: THUMBNAIL_SIDE });
      const picture = neighbour.addition ? neighbour.addition.thumbnail : gallery.thumbnail(neighbour.row);
      // Names and scores stand at once; a picture may still be on its way.
      Promise.resolve(picture).then(
        (blob) => showBlob(image, blob),
        () => image.classList.add("missing"),
      );
      const item = wrapped(
        image,
        make("span", { className: "name", textContent: neighbour.name }),
        make("span", { className: "score", textContent: neighbour.score.toFixed(3) }),
      );
      item.classList.toggle("mine", Boolean(neighbour.addition));
      item.title = neighbour.addition ? "added by you" : gallery.ids[neighbour.row];
      return item;
    }),
  );
  element("result").hidden = false;
}

/** The photos that the visitor added. */
export function additions(items, remove) {
  element("additions").replaceChildren(
    ...items.map((item) => {
      const image = make("img", { alt: "", width: THUMBNAIL_SIDE, height: THUMBNAIL_SIDE });
      showBlob(image, item.thumbnail);
      const button = make("button", { type: "button", className: "button", textContent: "Remove" });
      button.setAttribute("aria-label", `Remove ${item.name}`);
      button.addEventListener("click", () => remove(item.key));
      return wrapped(image, make("span", { className: "name", textContent: item.name }), button);
    }),
  );
  element("added").hidden = items.length === 0;
}

/**
 * A small JPEG of a photo, aspect ratio kept.
 * @param {Blob} blob
 */
export async function thumbnail(blob) {
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  const scale = Math.min(THUMBNAIL_SIDE / Math.max(bitmap.width, bitmap.height), 1);
  const side = (length) => Math.max(Math.round(length * scale), 1);
  const canvas = new OffscreenCanvas(side(bitmap.width), side(bitmap.height));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

function showBlob(image, blob) {
  const address = URL.createObjectURL(blob);
  image.onload = image.onerror = () => URL.revokeObjectURL(address);
  image.src = address;
}

function make(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function wrapped(...children) {
  const item = document.createElement("li");
  item.append(...children);
  return item;
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
