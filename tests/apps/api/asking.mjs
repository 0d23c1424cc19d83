// Asks with OpenAI's own client and prints what came of it: node asking.mjs ADDRESS KEY MODEL

import { createRequire } from "node:module";
import { cwd } from "node:process";

const { default: OpenAI, APIError } = await import(createRequire(`${cwd()}/`).resolve("openai"));
const [address, secret, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: address, apiKey: secret, maxRetries: 0 });
const asked = { model, messages: [{ role: "user", content: "Where is it made?" }], max_tokens: 20 };

const models = [];
for await (const each of client.models.list()) models.push(each.id);
const whole = await client.chat.completions.create(asked);
let streamed = "";
for await (const piece of await client.chat.completions.create({ ...asked, stream: true })) {
  streamed += piece.choices[0]?.delta?.content ?? "";
}

async function refusal(changes) {
  try {
    await client.chat.completions.create({ ...asked, ...changes });
  } catch (error) {
    if (error instanceof APIError) return error;
    throw error;
  }
  throw new Error("it was answered");
}

const unknown = await refusal({ model: "none" });
const wrong = await refusal({ temperature: 7 });
console.log(
  JSON.stringify({
    models,
    whole: whole.choices[0].message.content,
    streamed,
    tokens: whole.usage.completion_tokens,
    unknown: [unknown.status, unknown.code],
    wrong: [wrong.status, wrong.param],
  }),
);
