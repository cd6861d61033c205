// Runs a model with node-llama-cpp's published CUDA backend and prints what it said as JSON: the
// tokens, and the probabilities that it gave to the likeliest ones.
//
// decode.mjs MODEL TOKENS LAYERS: so many tokens, with so many layers on the GPU.

import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modelPath, count, gpuLayers] = process.argv.slice(2);
const packages = join(process.env.VGPU_NODE_CLIENTS, "node_modules");
const entry = join(packages, "node-llama-cpp", "dist", "index.js");
const { getLlama } = await import(pathToFileURL(entry));

const log = [];
const llama = await getLlama({
  gpu: "cuda",
  build: "never",
  skipDownload: true,
  logLevel: "debug",
  logger: (level, message) => log.push(`${level}: ${message}`),
});
const model = await llama.loadModel({ modelPath, gpuLayers: Number(gpuLayers) });
const context = await model.createContext({ contextSize: 256, batchSize: 64, threads: 1 });
const sequence = context.getSequence();
const prompt = model.tokenize("abc def 42", false);
const tokens = [];
const probabilities = [];
const generated = sequence.evaluateWithMetadata(
  prompt,
  { probabilities: true, confidence: true },
  { temperature: 0, yieldEogToken: true },
);
for await (const one of generated) {
  tokens.push(one.token);
  probabilities.push([...one.probabilities.entries()].slice(0, 8));
  if (tokens.length >= Number(count)) break;
}
console.log(JSON.stringify({ prompt, tokens, probabilities, log: log.filter((line) => !line.startsWith("debug")) }));
await llama.dispose();
