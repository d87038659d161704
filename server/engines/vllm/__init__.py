"""vLLM (https://github.com/vllm-project/vllm) behind the server's own protocol, in a process and, where wanted, an environment of its own."""
