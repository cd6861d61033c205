// Loads @fugood/node-llama-linux-x64-cuda, one addon with llama.cpp and its CUDA 12 backend in it,
// and prints the devices that it lists as JSON.

import { join } from "node:path";
import { constants } from "node:os";

const packages = join(process.env.VGPU_NODE_CLIENTS, "node_modules");
const addon = join(packages, "@fugood", "node-llama-linux-x64-cuda", "index.node");

const module = { exports: {} };
process.dlopen(module, addon, constants.dlopen.RTLD_NOW);
const devices = JSON.parse(module.exports.LlamaContext.getBackendDevicesInfo());
console.log(JSON.stringify({ devices }));
