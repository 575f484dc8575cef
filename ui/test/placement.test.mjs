// Several engines: who is where, and why. One engine: nothing of it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { close, COLD_URL, DESK, open, PHONE, picture, serious, SEVERAL_URL } from "./browser.mjs";

async function openOn(url, options = {}) {
  const page = await open(options, url);
  await page.goto(`${url}/`);
  await page.getByRole("heading", { name: "Traffic" }).waitFor();
  return page;
}

const card = (page) => page.locator("section.card", { has: page.getByRole("heading", { name: "Placement", exact: true }) });
const row = (page, id) => card(page).locator("tbody tr", { has: page.getByRole("rowheader", { name: id }) });
const said = async (found) => (await found.allInnerTexts()).map((text) => text.replace(/\s+/g, " ").trim());

test("with several engines it says which has which adapters, why, and what is on its way", async () => {
  const page = await openOn(SEVERAL_URL);
  await card(page).getByText("each adapter on 1 or more engines, as its traffic needs").waitFor();
  const places = await said(card(page).locator(".place"));
  assert.deepEqual(places, [
    "engine-0 ready 4 adapters on 4 slots, 1 leaving",
    "engine-1 ready 3 adapters on 4 slots, 1 coming",
    "engine-2 starting 0 adapters on 4 slots",
    "engine-3 stopped 0 adapters on 4 slots",
  ]);
  const rows = await said(card(page).locator("tbody th"));
  assert.equal(rows[0], "concept@0000000000a1"); // what is asked for most
  assert.equal(rows.length, 7);
  const chips = (id) => said(row(page, id).locator(".chips li"));
  assert.deepEqual(await chips("concept@0000000000a1"), ["engine-0", "engine-1 coming"]);
  assert.deepEqual(await chips("attribute@0000000000a4"), ["engine-0 leaving", "engine-1"]);
  assert.deepEqual(await chips("translation-to-plain-english@0000000000a7"), ["engine-1 to come"]);
  await row(page, "concept@0000000000a1").getByText("more than one engine is given").waitFor();
  assert.equal(await card(page).locator(".moves li").count(), 3);
  await page.getByText("It is started when those that run have too much to do.").waitFor();
  await close(page);
});

test("placement is sound at both widths, light and dark", async () => {
  for (const [width, viewport] of [[1440, DESK], [390, PHONE]])
    for (const colorScheme of ["light", "dark"]) {
      const page = await openOn(SEVERAL_URL, { viewport, colorScheme });
      await card(page).locator("tbody tr").first().waitFor();
      await card(page).getByText("moves of late", { exact: false }).waitFor();
      assert.deepEqual(await serious(page), [], `${width} ${colorScheme}`);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${over} pixels too wide at ${width}`);
      await card(page).evaluate((element) => scrollTo(0, element.getBoundingClientRect().top - 80));
      await picture(page, `placement-${width}-${colorScheme}`);
      await close(page);
    }
});

test("one engine has no placement", async () => {
  const page = await openOn(COLD_URL);
  assert.equal(await card(page).count(), 0);
  await close(page);
});
