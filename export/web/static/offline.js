// Registers the service worker that keeps the site for use without a network.

/** A page loaded past its worker (a forced reload) gets none; it should not wait for one. */
const PATIENCE_MS = 3000;

/** Storing follows the answer to the page, on slow disks by seconds. */
const STORING_MS = 15_000;
const LOOK_AGAIN_MS = 100;

/**
 * Waits until the worker answers this page's requests, so that what is loaded next is stored on the way.
 * @returns {Promise<boolean>} whether it does
 */
export async function keepOffline() {
  const container = navigator.serviceWorker;
  if (!container) {
    return false; // plain http on another host, or a private window
  }
  try {
    const controlled = container.controller
      ? Promise.resolve()
      : new Promise((resolve) => container.addEventListener("controllerchange", resolve, { once: true }));
    await container.register("sw.js", { updateViaCache: "none" });
    await Promise.race([controlled, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
  } catch {
    // Storage may be forbidden or full: the page works all the same, with the network.
  }
  return Boolean(container.controller);
}

/**
 * Waits until the worker has stored what the page has fetched.
 * @param {string[]} paths
 * @returns {Promise<boolean>} whether all are stored: a full disk, or no worker, keeps them from it
 */
export async function stored(paths) {
  if (!navigator.serviceWorker?.controller) {
    return false;
  }
  const deadline = Date.now() + STORING_MS;
  for (const path of paths) {
    while (!(await caches.match(path))) {
      if (Date.now() > deadline) {
        return false;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }
  return true;
}
