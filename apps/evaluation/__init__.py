"""Questions that were held out, the report they give, and whether it lets a composition go live."""
