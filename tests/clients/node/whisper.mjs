// Loads @fugood/node-whisper-linux-x64-cuda, one addon with whisper.cpp and its CUDA 12 backend,
// and a model without weights on the device; prints what whisper.cpp said of it as JSON.
//
// The first argument is a directory for the model.

import { constants } from "node:os";
import { join } from "node:path";
import { writeFileSync } from "node:fs";

const packages = join(process.env.VGPU_NODE_CLIENTS, "node_modules");
const addon = join(packages, "@fugood", "node-whisper-linux-x64-cuda", "index.node");

// The head of whisper.cpp's file: magic, sizes (the English vocabulary, one layer of 64 numbers in
// the encoder and in the decoder, single precision), the filters of the spectrum, and no words.
const [VOCABULARY, STATE, BANDS, FREQUENCIES] = [51864, 64, 80, 201];
const sizes = [VOCABULARY, 1500, STATE, 1, 1, 448, STATE, 1, 1, BANDS, 0];
const head = Int32Array.from([0x67676d6c, ...sizes, BANDS, FREQUENCIES]);
const filters = new Float32Array(BANDS * FREQUENCIES);
const words = Int32Array.from([0]);
const model = join(process.argv[2], "model.bin");
const bytes = [head, filters, words].map((part) => Buffer.from(part.buffer));
writeFileSync(model, Buffer.concat(bytes));

const module = { exports: {} };
process.dlopen(module, addon, constants.dlopen.RTLD_NOW);
const { WhisperContext } = module.exports;
const said = [];
const context = await new Promise((resolve) => {
  // The lines come through the event loop, the last one after the context is there.
  let made;
  WhisperContext.toggleNativeLog(true, (_, line) => {
    said.push(line.trim());
    if (line.includes("compute buffer (decode)")) setImmediate(() => resolve(made));
  });
  made = new WhisperContext({ filePath: model, useGpu: true });
});
await context.release();
WhisperContext.toggleNativeLog(false);
console.log(JSON.stringify({ said }));
