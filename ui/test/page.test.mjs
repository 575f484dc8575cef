// The page in a real browser, on a real stack.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN_KEY, ARCHIVE, close, DESK, GATEWAY_URL, go, open, PHONE, picture, SCREENSHOTS, serious, signedIn, signIn, USER_KEY } from "./browser.mjs";

test("a wrong key is refused, a good one enters, and its cookie is out of reach", async () => {
  const page = await open();
  await page.goto(`${GATEWAY_URL}/`);
  assert.equal(page.url(), `${GATEWAY_URL}/ui/`);
  await page.getByLabel("API key").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("not known").waitFor();
  await picture(page, "sign-in-1440-light");
  assert.deepEqual(await serious(page), []);
  await signIn(page, ADMIN_KEY);
  assert.equal(await page.evaluate(() => document.cookie), "");
  const [cookie] = await page.context().cookies(`${GATEWAY_URL}/ui/`);
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/ui"]);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key").waitFor();
  await page.reload();
  await page.getByLabel("API key").waitFor();
  await close(page);
});

test("the pipeline's concepts appear with their names while its first stage still runs", async () => {
  const page = await signedIn();
  await go(page, "Playground");
  await page.getByLabel("Model", { exact: true }).selectOption("concept-naming");
  await page.getByRole("button", { name: "Run" }).click();
  await page.locator(".stages li.on").first().waitFor();
  await page.locator(".concept").first().waitFor();
  await picture(page, "playground-running-1440-light");
  await page.getByRole("button", { name: "Run" }).waitFor();
  const names = await page.locator(".concept h3").allTextContents();
  assert.ok(names.length >= 2, `concepts: ${names}`);
  assert.ok(names.every((name) => name && name !== "no name"), `names: ${names}`);
  assert.equal(await page.locator(".stages li.done").count(), 2);
  assert.equal(await page.locator("rect.call").count(), 1 + names.length);
  assert.match(await page.locator(".timeline figcaption").textContent(), /began while extract still ran/);
  await page.locator(".side").scrollIntoViewIfNeeded();
  await page.evaluate(() => document.querySelector(".side").scrollIntoView({ block: "start" }));
  await page.mouse.wheel(0, -80);
  await picture(page, "playground-1440-light");
  assert.deepEqual(await serious(page), []);
  await close(page);
});

test("two answers stand side by side, and the request can be had for elsewhere", async () => {
  const page = await signedIn(ADMIN_KEY, { permissions: ["clipboard-read", "clipboard-write"] });
  await go(page, "Playground");
  await page.getByLabel("Model", { exact: true }).selectOption("naming");
  await page.getByLabel("Beside it").selectOption("base");
  await page.getByLabel("Most tokens").fill("40");
  await page.getByRole("button", { name: "Run" }).click();
  await page.locator(".side").nth(1).locator(".answer").waitFor();
  await page.getByRole("button", { name: "Run" }).waitFor();
  for (const side of await page.locator(".side .answer").all()) assert.ok((await side.textContent()).trim());
  for (const name of ["curl", "Python", "JavaScript"]) {
    await page.getByRole("button", { name }).click();
    const text = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(text.includes("naming") && !text.includes(ADMIN_KEY), text);
  }
  await picture(page, "side-by-side-1440-light");
  await close(page);
});

test("an archive is added as a canary, promoted, rolled back and removed", async () => {
  const page = await signedIn();
  await go(page, "Adapters");
  const card = page.locator("section.card", { has: page.getByRole("heading", { name: "naming", exact: true }) });
  await card.waitFor();
  const before = (await card.locator(".version .id").allTextContents())[0];
  await page.getByRole("button", { name: "Add an adapter" }).click();
  await page.getByLabel("Task", { exact: true }).fill("naming");
  await page.getByLabel("Archive").setInputFiles(ARCHIVE);
  await page.getByLabel("a share of them (canary)").check();
  await page.getByLabel("Share, in percent").fill("20");
  assert.deepEqual(await serious(page), []);
  await page.getByRole("button", { name: "Add", exact: true }).click();
  const canary = card.locator(".version.canary");
  await canary.waitFor();
  const added = await canary.locator(".id").textContent();
  assert.notEqual(added, before);
  await picture(page, "adapters-1440-light");
  await canary.getByRole("button", { name: "Promote" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Promote" }).click();
  await card.locator(".version.active .id", { hasText: added }).waitFor();
  await card.getByRole("button", { name: "Roll back" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
  await card.locator(".version.active .id", { hasText: before }).waitFor();
  const other = card.locator(".version", { has: page.locator(".id", { hasText: added }) });
  await other.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove the version" }).click();
  await other.waitFor({ state: "detached" });
  await close(page);
});

test("what the control plane refuses is said where it was asked", async () => {
  const page = await signedIn();
  await go(page, "Adapters");
  await page.getByRole("button", { name: "Add an adapter" }).click();
  await page.getByLabel("Task", { exact: true }).fill("other");
  await page.getByLabel("Archive").setInputFiles({ name: "no.zip", mimeType: "application/zip", buffer: Buffer.from("no archive") });
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByRole("alert").getByText(/zip archive/).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await close(page);
});

test("every view is sound at both widths, light and dark", async () => {
  for (const [width, viewport] of [[1440, DESK], [390, PHONE]])
    for (const colorScheme of ["light", "dark"]) {
      const page = await signedIn(ADMIN_KEY, { viewport, colorScheme });
      const views = await page.getByRole("navigation").getByRole("link").allTextContents();
      assert.ok(views.length > 5);
      for (const view of views) {
        await go(page, view);
        await page.getByRole("heading", { name: view, level: 1 }).waitFor({ state: "attached" });
        await page.waitForFunction(() => !document.querySelector(".spinner"));
        assert.deepEqual(await serious(page), [], `${view} ${width} ${colorScheme}`);
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `${view} is ${over} pixels too wide at ${width}`);
      }
      await close(page);
    }
});

test("a user sees its own, and an operator's buttons are not there", async () => {
  const page = await signedIn(USER_KEY);
  await page.getByRole("rowheader", { name: "naming" }).waitFor();
  assert.equal(await page.getByRole("rowheader", { name: "concept", exact: true }).count(), 0);
  await go(page, "Adapters");
  await page.getByRole("heading", { name: "naming" }).waitFor();
  assert.equal(await page.getByRole("button", { name: /Add an adapter|Remove|Roll back/ }).count(), 0);
  await close(page);
});

test("what was searched for among the adapters hides nothing elsewhere", async () => {
  const page = await signedIn();
  await go(page, "Adapters");
  await page.getByLabel("Find a task").fill("concept");
  await page.getByRole("heading", { name: "naming", exact: true }).waitFor({ state: "detached" });
  await go(page, "Overview");
  await page.getByRole("rowheader", { name: /^naming/ }).waitFor();
  await close(page);
});

test("a whole answer is one part of its bar, and a choice of requests that fits none says so", async () => {
  const page = await signedIn();
  const whole = { status: 200, origin: "client", task: "concept-naming", at: 1, queue_s: 0, engine_s: null, first_token_s: null, total_s: 2 };
  await page.route("**/ui/api/requests", (route) => route.fulfill({ json: { requests: [whole] } }));
  await go(page, "Requests");
  await page.getByRole("img", { name: "waiting 0 ms, until the answer began 2.00 s, rest 0 ms" }).waitFor();
  await page.getByLabel("Show").selectOption("batch");
  await page.getByText("None of these").waitFor();
  await close(page);
});

test("on a phone the name of the open view is in sight", async () => {
  const page = await signedIn(ADMIN_KEY, { viewport: PHONE });
  await page.evaluate(() => (location.hash = "#/usage"));
  const open = page.getByRole("navigation").locator("[aria-current]", { hasText: "Keys and limits" });
  await open.waitFor();
  const { x, width } = await open.boundingBox();
  assert.ok(x >= 0 && x + width <= PHONE.width, `from ${x}, ${width} wide`);
  await close(page);
});

test("it says that it is disconnected, and comes back by itself", async () => {
  const page = await signedIn();
  await page.getByText("Models", { exact: true }).first().waitFor();
  await page.route("**/ui/api/overview*", (route) => route.abort());
  await page.getByRole("alert").getByText("does not answer").waitFor();
  await page.unroute("**/ui/api/overview*");
  await page.getByRole("alert").waitFor({ state: "detached" });
  await close(page);
});

test("pictures of what the tests have left", { skip: !SCREENSHOTS }, async () => {
  for (const [width, viewport] of [[1440, DESK], [390, PHONE]])
    for (const colorScheme of ["light", "dark"]) {
      const page = await signedIn(ADMIN_KEY, { viewport, colorScheme });
      for (let at = 0; at < 8; at += 1) {
        await page.evaluate(async (count) => {
          const { token } = await (await fetch("/ui/api/session")).json();
          await Promise.all(["naming", "concept", "base"].slice(0, 1 + (count % 3)).map(async (model) => {
            const answer = await fetch("/ui/api/pass/v1/chat/completions", { method: "POST", headers: { "content-type": "application/json", "x-csrf-token": token }, body: JSON.stringify({ model, max_tokens: 12, stream: true, messages: [{ role: "user", content: "apple\nbus\ncherry" }] }) });
            await answer.text();
          }));
        }, at);
      }
      await page.waitForTimeout(2500);
      for (const [view, name] of [["Overview", "overview"], ["Requests", "requests"], ["Adapters", "adapters"]]) {
        await go(page, view);
        await page.waitForTimeout(1800);
        if (!(name === "adapters" && width === 1440 && colorScheme === "light")) await picture(page, `${name}-${width}-${colorScheme}`);
      }
      if (width === 390 || colorScheme === "dark") {
        await go(page, "Playground");
        await page.getByLabel("Model", { exact: true }).selectOption("concept-naming");
        await page.getByRole("button", { name: "Run" }).click();
        await page.locator(".concept").first().waitFor();
        await page.getByRole("button", { name: "Run" }).waitFor();
        await page.evaluate(() => document.querySelector(".side").scrollIntoView({ block: "start" }));
        await page.evaluate(() => scrollBy(0, -130));
        await picture(page, `playground-${width}-${colorScheme}`);
      }
      await close(page);
    }
});
