"""nvidia-ml-py, unmodified: what nvidia-smi-like tools ask first, printed as JSON."""

import json

import pynvml


def text(value):
    """Older answers are bytes, newer ones are text."""
    return value.decode() if isinstance(value, bytes) else value


def main():
    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    utilisation = pynvml.nvmlDeviceGetUtilizationRates(device)
    pci = pynvml.nvmlDeviceGetPciInfo(device)
    uuid = text(pynvml.nvmlDeviceGetUUID(device))
    by_uuid = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    by_bus = pynvml.nvmlDeviceGetHandleByPciBusId(text(pci.busId))
    answer = {
        "devices": pynvml.nvmlDeviceGetCount(),
        "driver": text(pynvml.nvmlSystemGetDriverVersion()),
        "cuda": pynvml.nvmlSystemGetCudaDriverVersion(),
        "name": text(pynvml.nvmlDeviceGetName(device)),
        "uuid": uuid,
        "total": memory.total,
        "free": memory.free,
        "used": memory.used,
        "pci": text(pci.busId),
        "pci_numbers": [pci.domain, pci.bus, pci.device],
        "gpu": utilisation.gpu,
        "memory": utilisation.memory,
        "temperature": pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU),
        "power_mw": pynvml.nvmlDeviceGetPowerUsage(device),
        "compute": list(pynvml.nvmlDeviceGetCudaComputeCapability(device)),
        "same_by_uuid": text(pynvml.nvmlDeviceGetUUID(by_uuid)) == uuid,
        "same_by_bus": text(pynvml.nvmlDeviceGetUUID(by_bus)) == uuid,
        "processes": len(pynvml.nvmlDeviceGetComputeRunningProcesses(device)),
    }
    pynvml.nvmlShutdown()
    print(json.dumps(answer))


main()
