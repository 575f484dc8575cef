// A browser for the page's tests: `make test-ui` names what they need in GATEWAY_URL, ADMIN_KEY, USER_KEY, ARCHIVE, COLD_URL, FAILED_URL,
// SEVERAL_URL and CHROMIUM. SCREENSHOTS names a folder that pictures are written to.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

export const { GATEWAY_URL, ADMIN_KEY, USER_KEY, ARCHIVE, COLD_URL, FAILED_URL, SEVERAL_URL, SCREENSHOTS } = process.env;
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
export const DESK = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };
const PATIENCE_MS = 90_000;

let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
});
after(() => browser?.close());

// A tab that fails the test for whatever a browser complains of, and for a request to anywhere else.
export async function open(options = {}, url = GATEWAY_URL) {
  const context = await browser.newContext({ viewport: DESK, colorScheme: "light", bypassCSP: false, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (said) => said.type() === "error" && !/Failed to load resource/.test(said.text()) && complaints.push(said.text()));
  page.on("request", (asked) => !asked.url().startsWith(url) && complaints.push(`asked ${asked.url()}`));
  page.complaints = complaints;
  return page;
}

export async function signIn(page, key) {
  await page.goto(`${GATEWAY_URL}/`);
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("navigation").waitFor();
}

export async function signedIn(key = ADMIN_KEY, options = {}) {
  const page = await open(options);
  await signIn(page, key);
  return page;
}

export const go = (page, label) => page.getByRole("navigation").getByRole("link", { name: label }).click();

export async function close(page) {
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

// The policy holds for scripts of a test too, so axe comes in past it, in a world of its own.
export async function serious(page) {
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send("Page.getFrameTree");
  const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
  await session.send("Runtime.evaluate", { expression: readFileSync(AXE, "utf8"), contextId: executionContextId });
  const { result } = await session.send("Runtime.evaluate", {
    expression: "axe.run().then((found) => JSON.stringify(found.violations.filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => ({ id: one.id, where: one.nodes.map((node) => node.target.join(' ') + ' ' + (node.any[0]?.message ?? '')) }))))",
    contextId: executionContextId,
    awaitPromise: true,
    returnByValue: true,
  });
  return JSON.parse(result.value);
}

export async function picture(page, name) {
  if (!SCREENSHOTS) return;
  await page.waitForFunction(() => document.querySelector(".stages li.on") || document.getAnimations().every((one) => one.playState === "finished"));
  await page.screenshot({ path: `${SCREENSHOTS}/${name}.png` });
}
