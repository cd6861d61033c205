// Starts node-llama-cpp with its published CUDA backend and prints what it reports as JSON.
//
// The packages are not beside this file but where VGPU_NODE_CLIENTS says, unmodified.

import { join } from "node:path";
import { pathToFileURL } from "node:url";

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
console.log(
  JSON.stringify({
    gpu: llama.gpu,
    names: await llama.getGpuDeviceNames(),
    vram: await llama.getVramState(),
    log,
  }),
);
await llama.dispose();
