// The same request elsewhere.
const quoted = (text) => JSON.stringify(text);

export function snippets(origin, model, input, keys) {
  const body = JSON.stringify({ model, messages: [{ role: "user", content: input }] });
  const shell = body.replaceAll("'", "'\\''");
  return {
    curl: [`curl ${origin}/v1/chat/completions \\`, ...(keys ? [`  -H "authorization: Bearer $LORA_GATEWAY_KEY" \\`] : []), `  -H 'content-type: application/json' \\`, `  -d '${shell}'`].join("\n"),
    Python: `import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url=${quoted(`${origin}/v1`)}, api_key=${keys ? 'os.environ["LORA_GATEWAY_KEY"]' : '"none"'})\nanswer = client.chat.completions.create(\n    model=${quoted(model)},\n    messages=[{"role": "user", "content": ${quoted(input)}}],\n)\nprint(answer.choices[0].message.content)`.replace(keys ? "" : "import os\n", ""),
    JavaScript: `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: ${quoted(`${origin}/v1`)}, apiKey: ${keys ? "process.env.LORA_GATEWAY_KEY" : '"none"'} });\nconst answer = await client.chat.completions.create({\n  model: ${quoted(model)},\n  messages: [{ role: "user", content: ${quoted(input)} }],\n});\nconsole.log(answer.choices[0].message.content);`,
  };
}
