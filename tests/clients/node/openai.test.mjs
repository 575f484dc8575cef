// openai-node on the gateway at GATEWAY_URL, and its errors on the one at FAKE_URL, which has keys.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const options = { maxRetries: 0, timeout: 240_000 };
const client = new OpenAI({ baseURL: `${process.env.GATEWAY_URL}/v1`, apiKey: "none", ...options });
const fake = new OpenAI({ baseURL: `${process.env.FAKE_URL}/v1`, apiKey: "team-a", ...options });
const messages = [
  { role: "user", content: "Definition: a domesticated animal that barks\nMembers: poodle, beagle, terrier" },
];

test("a chat is answered whole and streamed", async () => {
  const whole = await client.chat.completions.create({ model: "naming", messages });
  const stream = await client.chat.completions.create({ model: "naming", messages, stream: true });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  assert.ok(text);
  assert.equal(text, whole.choices[0].message.content);
});

test("a stream that is aborted ends, and the gateway serves on", async () => {
  const stream = await client.chat.completions.create({
    model: "base",
    messages,
    stream: true,
    max_tokens: 500,
    ignore_eos: true,
  });
  let chunks = 0;
  for await (const _ of stream) if (++chunks === 2) stream.controller.abort();
  assert.ok(chunks >= 2 && chunks < 400, `${chunks} of 500`); // what had come by then is still told
  const health = await (await fetch(`${process.env.GATEWAY_URL}/health`)).json();
  assert.equal(health.status, "ok");
});

test("a request that is aborted before its answer throws APIUserAbortError", async () => {
  const controller = new AbortController();
  const asking = client.chat.completions.create(
    { model: "base", messages, max_tokens: 500, ignore_eos: true },
    { signal: controller.signal },
  );
  setTimeout(() => controller.abort(), 200);
  await assert.rejects(asking, OpenAI.APIUserAbortError);
});

test("responses are created and streamed", async () => {
  const input = messages[0].content;
  const whole = await client.responses.create({ model: "naming", input });
  const stream = await client.responses.create({ model: "naming", input, stream: true });
  let text = "";
  for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
  assert.equal(text, whole.output_text);
});

test("the models are listed", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.deepEqual(names, ["base", "concept", "naming", "concept-naming"]);
});

test("the raw response has the gateway's headers", async () => {
  const { data, response } = await client.chat.completions
    .create({ model: "naming", messages }, { headers: { "X-Request-Id": "mine-1" } })
    .withResponse();
  assert.equal(response.headers.get("x-request-id"), "mine-1");
  assert.equal(response.headers.get("x-gateway-adapter"), data.model);
});

test("an unknown model is a NotFoundError", async () => {
  const asking = client.chat.completions.create({ model: "namng", messages });
  await assert.rejects(asking, (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
});

test("an unknown parameter is a BadRequestError that names it", async () => {
  const asking = client.chat.completions.create({ model: "naming", messages, temprature: 1 });
  await assert.rejects(asking, (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temprature");
    return true;
  });
});

test("a wrong key is an AuthenticationError", async () => {
  const wrong = fake.withOptions({ apiKey: "nobody's" });
  await assert.rejects(wrong.models.list(), OpenAI.AuthenticationError);
});

test("a model that the key may not call is a PermissionDeniedError", async () => {
  const asking = fake.chat.completions.create({ model: "base", messages });
  await assert.rejects(asking, OpenAI.PermissionDeniedError);
});

test("a full task is a RateLimitError", async () => {
  const controller = new AbortController();
  const ask = (signal) => fake.chat.completions.create({ model: "concept", messages }, { signal });
  const holding = ask(controller.signal).catch(() => null); // it has the only place, and is never answered
  let refused = null;
  for (let i = 0; i < 20 && !(refused instanceof OpenAI.RateLimitError); i++)
    refused = await ask(AbortSignal.timeout(200)).catch((error) => error);
  assert.ok(refused instanceof OpenAI.RateLimitError);
  controller.abort();
  await holding;
});

test("an address where nobody listens is an APIConnectionError", async () => {
  const nowhere = client.withOptions({ baseURL: "http://127.0.0.1:9/v1" });
  await assert.rejects(nowhere.models.list(), OpenAI.APIConnectionError);
});
