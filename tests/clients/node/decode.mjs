// Runs a model with node-llama-cpp's published CUDA backend and prints what it said as JSON: the
// tokens, the probabilities that it gave to the likeliest ones, and the seconds that the prompt
// and all tokens after the first took.
//
// decode.mjs MODEL TOKENS LAYERS [PROMPT]: so many tokens, with so many layers on the GPU, after a
// prompt of so many tokens. The second token is told on standard error when it is there.

import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const [modelPath, count, gpuLayers, promptLength] = process.argv.slice(2);
const packages = join(process.env.VGPU_NODE_CLIENTS, "node_modules");
const entry = join(packages, "node-llama-cpp", "dist", "index.js");
const { getLlama } = await import(pathToFileURL(entry));

const log = [];
// llama.cpp's words come by the event loop, after the failure that they explain, and are lost if
// the process ends before. These are its last ones.
const refused = Promise.withResolvers();
const llama = await getLlama({
  gpu: "cuda",
  build: "never",
  skipDownload: true,
  logLevel: "debug",
  logger: (level, message) => {
    log.push(`${level}: ${message}`);
    if (level === "error") console.error(message.trim());
    if (message.includes("failed to load model")) refused.resolve();
  },
});
const model = await llama
  .loadModel({ modelPath, gpuLayers: Number(gpuLayers) })
  .catch(async (error) => {
    await Promise.race([refused.promise, setTimeout(10_000)]);
    throw error;
  });
let prompt = model.tokenize("abc def 42", false);
if (promptLength) {
  prompt = Array.from({ length: Number(promptLength) }, (_, at) => prompt[at % prompt.length]);
}
const contextSize = Math.max(256, prompt.length + Number(count));
const batchSize = Math.max(64, prompt.length);
const context = await model.createContext({ contextSize, batchSize, threads: 1 });
const sequence = context.getSequence();
const tokens = [];
const probabilities = [];
const began = performance.now();
let first = began;
const generated = sequence.evaluateWithMetadata(
  prompt,
  { probabilities: true, confidence: true },
  { temperature: 0, yieldEogToken: true },
);
for await (const one of generated) {
  if (tokens.length === 0) first = performance.now();
  tokens.push(one.token);
  if (tokens.length === 2) console.error("token 2");
  probabilities.push([...one.probabilities.entries()].slice(0, 8));
  if (tokens.length >= Number(count)) break;
}
const seconds = { prompt: (first - began) / 1e3, tokens: (performance.now() - first) / 1e3 };
const told = log.filter((line) => !line.startsWith("debug"));
console.log(JSON.stringify({ prompt, tokens, probabilities, seconds, log: told }));
await llama.dispose();
