// Answers from the store first. The site's files are stored on their way to the page; all files of one version that
// belong together are fetched together, so a page never mixes two versions.

importScripts("version.js"); // sets SITE_VERSION and SITE_SHELL; a new version makes this worker new

const CACHE = `kdistill-${self.registration.scope}-${self.SITE_VERSION}`;

self.addEventListener("install", (event) => {
  const requests = self.SITE_SHELL.map((path) => new Request(path, { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(requests)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOldVersions().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && url.origin === self.location.origin) {
    event.respondWith(answer(event.request));
  }
});

async function dropOldVersions() {
  const mine = `kdistill-${self.registration.scope}-`;
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(mine) && name !== CACHE).map((name) => caches.delete(name)));
}

async function answer(request) {
  const cache = await caches.open(CACHE);
  const stored = await cache.match(request, { ignoreSearch: true });
  if (stored) {
    return stored;
  }
  const response = await fetch(request);
  if (response.status === 200) {
    // A full disk must not fail the answer.
    cache.put(request, response.clone()).catch(() => {});
  }
  return response;
}
