// What takes several steps: an archive that is dropped, a shadow's differences, a batch that is cancelled, and all of it by keyboard.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN_KEY, ARCHIVE, close, GATEWAY_URL, go, open, serious, signedIn } from "./browser.mjs";

// As a desktop does it: the browser is handed a file's path, and makes of it what the page is told.
async function dropFile(page, target, path) {
  const { x, y, width, height } = await target.boundingBox();
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: [path], dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver"]) await session.send("Input.dispatchDragEvent", { type, x: x + width / 2, y: y + height / 2, data });
  await page.locator(".dropping.over").waitFor();
  await session.send("Input.dispatchDragEvent", { type: "drop", x: x + width / 2, y: y + height / 2, data });
}

// Through the page's own session, as its scripts ask.
const asPage = (page, path, body) =>
  page.evaluate(
    async ([path, body]) => {
      const { token } = await (await fetch("/ui/api/session")).json();
      const file = body.file && new FormData();
      if (file) {
        file.append("purpose", "batch");
        file.append("file", new Blob([body.file]), "lines.jsonl");
      }
      const headers = { "x-csrf-token": token, ...(file ? {} : { "content-type": "application/json" }) };
      return (await fetch(`/ui/api/pass${path}`, { method: "POST", headers, body: file || JSON.stringify(body) })).json();
    },
    [path, body],
  );
const chat = (model, content, max_tokens) => ({ model, max_tokens, temperature: 0, messages: [{ role: "user", content }] });

test("an archive that is dropped becomes a shadow, and its differences are shown", async () => {
  const page = await signedIn();
  await go(page, "Adapters");
  const card = page.locator("section.card", { has: page.getByRole("heading", { name: "naming", exact: true }) });
  await card.waitFor();
  await dropFile(page, page.locator(".drop-hint"), ARCHIVE);
  await page.locator(".picked code", { hasText: "relationship.tar" }).waitFor();
  await page.getByLabel("Task", { exact: true }).fill("naming");
  await page.getByLabel("copies of a share").check();
  await page.getByLabel("Share, in percent").fill("100");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  const shadow = card.locator(".version.shadow");
  await shadow.waitFor();
  const dialog = page.getByRole("dialog");
  for (let at = 0; ; at += 1) {
    const answer = await asPage(page, "/v1/chat/completions", chat("naming", `Definition: a round fruit\nMembers: apple, pear ${at}`, 8));
    assert.equal(answer.object, "chat.completion", JSON.stringify(answer));
    await card.getByRole("button", { name: "Shadow's differences" }).click();
    await dialog.locator("tbody tr, .empty-title").first().waitFor();
    if (await dialog.locator("tbody tr").count()) break;
    assert.ok(at < 60, "no copy was answered");
    await dialog.getByRole("button", { name: "Close" }).click();
  }
  assert.match(await dialog.locator("tbody .badge").first().textContent(), /^(same|different)$/);
  await dialog.locator(".fact", { hasText: "Agreement" }).getByText("%").waitFor();
  assert.deepEqual(await serious(page), []);
  await dialog.getByRole("button", { name: "Close" }).click();
  await shadow.getByRole("button", { name: "Remove" }).click();
  await dialog.getByRole("button", { name: "Remove the version" }).click();
  await shadow.waitFor({ state: "detached" });
  await close(page);
});

test("a batch shows how far it is, and is cancelled", async () => {
  const page = await signedIn();
  const lines = Array.from({ length: 400 }, (_, at) => JSON.stringify({ custom_id: `${at}`, method: "POST", url: "/v1/chat/completions", body: chat("naming", `Members: pen, ink ${at}`, 24) }));
  const { id } = await asPage(page, "/v1/files", { file: lines.join("\n") });
  const batch = await asPage(page, "/v1/batches", { input_file_id: id, endpoint: "/v1/chat/completions", completion_window: "24h" });
  assert.ok(batch.id, JSON.stringify(batch));
  await go(page, "Batches");
  const row = page.locator("tbody tr", { has: page.getByText(batch.id) });
  await row.getByText(/ of 400/).waitFor();
  await row.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the batch" }).click();
  await row.locator(".badge", { hasText: /^cancelled$/ }).waitFor();
  assert.equal(await row.getByRole("button", { name: "Cancel" }).count(), 0);
  assert.ok(Number(await row.getByRole("progressbar").getAttribute("aria-valuenow")) < 400);
  await close(page);
});

// Tab until that is in focus, as somebody without a mouse does.
async function tabTo(page, name, key = "Tab") {
  const passed = [];
  for (let at = 0; at < 80; at += 1) {
    const [named, seen] = await page.evaluate(() => {
      const it = document.activeElement;
      if (["BODY", "MAIN"].includes(it.tagName)) return ["", true];
      const style = getComputedStyle(it);
      return [(it.getAttribute("aria-label") ?? it.labels?.[0]?.textContent ?? it.textContent ?? "").trim(), style.outlineStyle !== "none" || style.boxShadow !== "none"];
    });
    if (named.startsWith(name)) return assert.ok(seen, `nothing shows that ${name} is in focus`);
    passed.push(named.slice(0, 20));
    await page.keyboard.press(key);
  }
  assert.fail(`no Tab leads to ${name}: ${passed}`);
}

test("it can be used by keyboard alone, from signing in to signing out", async () => {
  const page = await open();
  const { keyboard } = page;
  await page.goto(`${GATEWAY_URL}/`);
  await page.getByLabel("API key").waitFor();
  await keyboard.type(ADMIN_KEY);
  await keyboard.press("Enter");
  await page.getByRole("navigation").waitFor();
  await tabTo(page, "Skip to the content");
  await tabTo(page, "Adapters");
  await keyboard.press("Enter");
  await tabTo(page, "Add an adapter");
  await keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  assert.ok(await page.evaluate(() => document.querySelector("dialog").contains(document.activeElement)), "the dialog has the focus");
  await tabTo(page, "every request");
  await keyboard.press("ArrowDown");
  await page.getByLabel("Share, in percent").waitFor();
  await keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await tabTo(page, "Playground", "Shift+Tab");
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "Playground", level: 1 }).waitFor();
  await tabTo(page, "Most tokens");
  await keyboard.type("4");
  await tabTo(page, "Input");
  await keyboard.press("Control+Enter");
  await page.locator(".side").waitFor();
  await page.getByRole("button", { name: "Run" }).waitFor();
  await tabTo(page, "Sign out", "Shift+Tab");
  await keyboard.press("Enter");
  await page.getByLabel("API key").waitFor();
  await close(page);
});
