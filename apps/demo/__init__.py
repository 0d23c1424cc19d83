"""The demo tenant and its road: what `make demo` does. Knows every app below."""
