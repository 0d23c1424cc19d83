"""Without vLLM these tests are not looked for: they have an environment of their own."""

from importlib.util import find_spec

collect_ignore_glob = ["test_*"] if find_spec("vllm") is None else []
