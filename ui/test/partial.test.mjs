// What the playground reads of an answer that is still coming; no browser is needed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { elementsOf } from "../src/partial.js";

test("an element is there once it is closed", () => {
  const text = '{"concepts": [{"name": "a } b", "of": [{"x": 1}]}, {"name": "c"';
  assert.deepEqual(elementsOf(text), [{ name: "a } b", of: [{ x: 1 }] }]);
  assert.deepEqual(elementsOf(`${text}}`).at(-1), { name: "c" });
});

test("an answer with brackets that are no JSON is a text like any other", () => {
  assert.deepEqual(elementsOf("int main() { while (1) { if (x) { stop(); } } }"), []);
  assert.deepEqual(elementsOf('{"concepts": [{"name": "a"}, {name}]}'), [{ name: "a" }]);
});
