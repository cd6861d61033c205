// Transcribes a second of sound with @fugood/node-whisper-linux-x64-cuda, whisper.cpp with its CUDA
// 12 backend, and a small random model; prints what it heard as JSON.
//
// transcribe.mjs DIRECTORY cpu|gpu: the model is written into the directory.

import { constants } from "node:os";
import { join } from "node:path";
import { writeFileSync } from "node:fs";

const [directory, where] = process.argv.slice(2);
const packages = join(process.env.VGPU_NODE_CLIENTS, "node_modules");
const addon = join(packages, "@fugood", "node-whisper-linux-x64-cuda", "index.node");

// The English vocabulary; one layer of one head of 64 numbers; short contexts, for the simulated
// device takes its time.
const [VOCABULARY, WORDS, STATE, BANDS, FREQUENCIES] = [51864, 50257, 64, 80, 201];
const [AUDIO, TEXT] = [64, 32];
const HALVES = 1;

let seed = 20;
function random() {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 31 - 1;
}

const parts = [];
const put = (array) => parts.push(Buffer.from(array.buffer));

// Lengths from the innermost dimension; matrices in half precision, the rest in single.
function tensor(name, lengths, make, halves) {
  const count = lengths.reduce((product, length) => product * length, 1);
  const values = Array.from({ length: count }, make);
  put(Int32Array.from([lengths.length, name.length, halves ? 1 : 0, ...lengths]));
  parts.push(Buffer.from(name));
  put(halves ? Float16Array.from(values) : Float32Array.from(values));
}

const matrix = (name, ...lengths) => {
  const size = Math.sqrt(3 / (lengths.length === 3 ? lengths[0] * lengths[1] : lengths[0]));
  tensor(name, lengths, () => random() * size, true);
};
const vector = (name, ...lengths) => tensor(name, lengths, () => random() / 10, false);
const linear = (name, from, to) => {
  matrix(`${name}.weight`, from, to);
  vector(`${name}.bias`, to);
};
const norm = (name) => {
  tensor(`${name}.weight`, [STATE], () => 1, false);
  vector(`${name}.bias`, STATE);
};
const attention = (name) => {
  for (const part of ["query", "value", "out"]) linear(`${name}.${part}`, STATE, STATE);
  matrix(`${name}.key.weight`, STATE, STATE);
};
const block = (name, kinds) => {
  for (const kind of kinds) {
    norm(`${name}.${kind}_ln`);
    attention(`${name}.${kind}`);
  }
  norm(`${name}.mlp_ln`);
  linear(`${name}.mlp.0`, STATE, 4 * STATE);
  linear(`${name}.mlp.2`, 4 * STATE, STATE);
};

// The head of whisper.cpp's file: magic, sizes, the filters of the spectrum, the words.
put(Int32Array.from([0x67676d6c, VOCABULARY, AUDIO, STATE, 1, 1, TEXT, STATE, 1, 1, BANDS, HALVES]));
put(Int32Array.from([BANDS, FREQUENCIES]));
put(Float32Array.from({ length: BANDS * FREQUENCIES }, (_, at) =>
  Math.floor((at % FREQUENCIES) / 2.6) === Math.floor(at / FREQUENCIES) ? 1 : 0));
put(Int32Array.from([WORDS]));
for (let word = 0; word < WORDS; word++) {
  // whisper.cpp looks for the blank by its name.
  const text = word === 0 ? " " : ` w${word}`;
  put(Int32Array.from([text.length]));
  parts.push(Buffer.from(text));
}
vector("encoder.positional_embedding", STATE, AUDIO);
matrix("encoder.conv1.weight", 3, BANDS, STATE);
vector("encoder.conv1.bias", 1, STATE);
matrix("encoder.conv2.weight", 3, STATE, STATE);
vector("encoder.conv2.bias", 1, STATE);
block("encoder.blocks.0", ["attn"]);
norm("encoder.ln_post");
vector("decoder.positional_embedding", STATE, TEXT);
matrix("decoder.token_embedding.weight", STATE, VOCABULARY);
block("decoder.blocks.0", ["attn", "cross_attn"]);
norm("decoder.ln");

const model = join(directory, `model-${where}.bin`);
writeFileSync(model, Buffer.concat(parts));

const module = { exports: {} };
process.dlopen(module, addon, constants.dlopen.RTLD_NOW);
const { WhisperContext } = module.exports;
const context = new WhisperContext({ filePath: model, useGpu: where === "gpu", useFlashAttn: false });
const sound = Int16Array.from({ length: 20000 }, (_, at) => 9000 * Math.sin(at * at / 90000));
const options = { language: "en", maxThreads: 1, temperature: 0, temperatureInc: 0, bestOf: 1, beamSize: 1 };
const heard = await context.transcribeData(sound.buffer, options).promise;
await context.release();
console.log(JSON.stringify({ heard }));
