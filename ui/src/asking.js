// One request of the playground's, from its first byte to its last.
import { events, send } from "./api.js";
import { elementsOf } from "./partial.js";

export async function* run({ model, input, maxTokens, temperature, signal }) {
  const began = performance.now();
  const body = { model, messages: [{ role: "user", content: input }], stream: true, stream_options: { include_usage: true } };
  if (maxTokens) body.max_tokens = Number(maxTokens);
  if (temperature !== "") body.temperature = Number(temperature);
  let state = { text: "", model: "", elements: [], seenAt: [], calls: [], usage: null, firstMs: null, ms: 0, done: false, cold: false };
  const answer = await send("POST", "/pass/v1/chat/completions", { body, signal, headers: { "x-pipeline-progress": "comments" } });
  state = { ...state, model: answer.headers.get("x-gateway-adapter") ?? "", cold: answer.headers.get("x-gateway-cold") === "true" };
  yield state;
  for await (const { stage, data } of events(answer)) {
    const ms = performance.now() - began;
    if (stage) {
      state = { ...state, ms, calls: noted(state.calls, stage) };
    } else if (data.error) {
      throw new Error(data.error.message);
    } else {
      const delta = data.choices?.[0]?.delta?.content ?? "";
      const text = state.text + delta;
      const elements = delta ? elementsOf(text) : state.elements;
      const seenAt = [...state.seenAt];
      while (seenAt.length < elements.length) seenAt.push(ms);
      state = { ...state, ms, text, elements, seenAt, usage: data.usage ?? state.usage, firstMs: state.firstMs ?? (delta ? ms : null) };
    }
    yield state;
  }
  yield { ...state, ms: performance.now() - began, done: true };
}

function noted(calls, { stage, call, what, ms }) {
  if (what === "begin") return [...calls, { stage, call, begin: ms, end: null }];
  return calls.map((one) => (one.stage === stage && one.call === call ? { ...one, end: ms } : one));
}
