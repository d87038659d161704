"""What the devices are doing and how much of them the engines use: NVIDIA cards through NVML, processors through /proc."""
