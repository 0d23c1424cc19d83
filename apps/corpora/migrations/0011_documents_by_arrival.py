"""Documents in the order in which they came: newest first, and what came since a snapshot."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # a million documents are indexed while people work

    dependencies = [("corpora", "0010_passage_vectors")]

    operations = [
        AddIndexConcurrently(
            "document",
            models.Index(fields=["tenant", "corpus", "created_at", "id"], name="document_by_arrival"),
        ),
    ]
