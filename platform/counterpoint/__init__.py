"""The site: settings, doors and everything that apps lean on. Names apps only in settings, urls,
middleware and the home page; knows nothing of models or torch."""

from counterpoint.celery import app as celery_app

__all__ = ["celery_app"]
