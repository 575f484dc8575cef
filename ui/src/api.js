// The gateway's side: JSON, errors in OpenAI's envelope, and the session's token beside whatever changes something.
let token = "";
export const hold = (given) => {
  token = given ?? "";
};

export class Failed extends Error {
  constructor(message, status = 0, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export async function send(method, path, { body, headers = {}, signal } = {}) {
  const plain = body === undefined || body instanceof Blob;
  let answer;
  try {
    answer = await fetch(`/ui/api${path}`, {
      method,
      signal,
      cache: "no-store",
      credentials: "same-origin",
      headers: { ...(plain ? {} : { "content-type": "application/json" }), "x-csrf-token": token, ...headers },
      body: plain ? body : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failed("The gateway does not answer.");
  }
  if (!answer.ok) throw await failure(answer);
  return answer;
}

export const ask = async (method, path, options) => (await send(method, path, options)).json();

async function failure(answer) {
  let told = {};
  try {
    told = (await answer.json()).error ?? {};
  } catch {
    /* no JSON: the status says all there is */
  }
  return new Failed(told.message ?? `The gateway answered ${answer.status}.`, answer.status, told.code ?? "");
}

// Server-sent events as they come: comments that tell of stages, and the data of each event.
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      held += value;
      let end;
      while ((end = held.indexOf("\n\n")) >= 0) {
        const block = held.slice(0, end);
        held = held.slice(end + 2);
        for (const line of block.split("\n")) {
          if (line.startsWith(": stage ")) yield { stage: JSON.parse(line.slice(8)) };
          else if (line.startsWith("data: ") && line !== "data: [DONE]") yield { data: JSON.parse(line.slice(6)) };
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
