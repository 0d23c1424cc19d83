"""The vLLM plugin: a composition served by vLLM's own models, scheduler and paged cache."""
