"""The OpenAI-compatible model server on torch: a process of its own, started by `calm serve`.

`protocol` reads requests and shapes replies, `batching` steps many answers together on one
thread, `app` joins the two over HTTP, `server` is the process. None knows tenants or accounts.
"""
