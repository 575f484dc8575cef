// What the page says where no engine is ready, and what it still knows after a reload.
import assert from "node:assert/strict";
import { test } from "node:test";
import { close, COLD_URL, FAILED_URL, go, open, serious, signedIn, signIn, ADMIN_KEY } from "./browser.mjs";

async function openOn(url) {
  const page = await open({}, url);
  await page.goto(`${url}/`);
  await page.getByRole("navigation").waitFor();
  return page;
}

test("an engine that failed says why, everywhere that it matters", async () => {
  const page = await openOn(FAILED_URL);
  await page.locator(".pulse.bad", { hasText: "failed" }).waitFor();
  await page.getByRole("alert").getByText("9 GiB are wanted, 4 are free").waitFor();
  await page.getByText("A failed engine is tried again by itself").waitFor();
  assert.deepEqual(await serious(page), []);
  await go(page, "Adapters");
  await page.getByText("not loaded").first().waitFor();
  await close(page);
});

test("an engine that is cold is no fault: it says who starts it", async () => {
  const page = await openOn(COLD_URL);
  await page.locator(".pulse.busy", { hasText: "cold" }).waitFor();
  await page.getByText("The next request starts it.").waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  await go(page, "Playground");
  await page.getByText("the request waits for its start").waitFor();
  assert.deepEqual(await serious(page), []);
  await close(page);
});

test("a model's time to first token is that of the last minutes", async () => {
  const page = await open({}, COLD_URL);
  let looks = 0;
  await page.route("**/ui/api/overview*", async (route) => {
    const response = await route.fetch();
    const now = await response.json();
    now.counts.models = { naming: { requests: 9 + looks, first_tokens: 9 + looks, first_token_s: 900 + looks / 5 } };
    looks += 1;
    await route.fulfill({ response, json: now });
  });
  await page.goto(`${COLD_URL}/`);
  await page.locator("[data-label='First token, recent']", { hasText: "200 ms" }).waitFor();
  await close(page);
});

// From then on the page hears of the gateway once and no more.
async function hearOnce(page) {
  let heard = 0;
  await page.route("**/ui/api/overview*", (route) => (heard++ ? route.abort() : route.continue()));
}

test("the charts outlast a reload, and are gone for whoever signs in next", async () => {
  const page = await signedIn();
  await page.getByText("Gathering …").first().waitFor();
  await page.getByText("Gathering …").first().waitFor({ state: "detached" });
  await hearOnce(page);
  await page.reload();
  await page.getByRole("heading", { name: "Traffic" }).waitFor();
  assert.equal(await page.getByText("Gathering …").count(), 0);
  await page.unroute("**/ui/api/overview*");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key").waitFor();
  await hearOnce(page);
  await signIn(page, ADMIN_KEY);
  await page.getByText("Gathering …").first().waitFor();
  await close(page);
});
