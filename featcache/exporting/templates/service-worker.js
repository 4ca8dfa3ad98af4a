// Keeps the page's files, so that it opens without a network after the first time.
//
// What is large has its content's digest in its address and is never asked for twice; the rest is asked for first and
// taken from what was kept where there is no answer: another folder behind the same address shows at once.
const VERSION = "{{version}}";
const FILES = {{files}};
const KEPT = `featcache ${self.registration.scope} `; // caches are shared by all pages of an origin

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(KEPT + VERSION).then((cache) => cache.addAll(FILES)));
});

self.addEventListener("activate", (event) => {
  const remove = (names) => names.filter((name) => name.startsWith(KEPT) && name !== KEPT + VERSION);
  event.waitUntil(
    caches.keys()
      .then((names) => Promise.all(remove(names).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

async function answer(request) {
  const cache = await caches.open(KEPT + VERSION);
  const kept = await cache.match(request);
  if (kept && new URL(request.url).searchParams.has("sha256")) return kept;
  try {
    return await fetch(request, { cache: "no-cache" });
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(self.registration.scope)) event.respondWith(answer(event.request));
});
