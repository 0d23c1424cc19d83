"""The vLLM plugin on the real vLLM, in an environment of its own: `make test-vllm`."""
