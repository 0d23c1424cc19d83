"""Long work as rows: queued, claimed, beaten, ended. Knows no Celery task, no torch, no page."""
