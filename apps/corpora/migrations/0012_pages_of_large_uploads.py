"""Files of an upload as they came, and what is ready in a corpus: read off, not gone through."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # a million documents are indexed while people work

    dependencies = [("corpora", "0011_documents_by_arrival")]

    operations = [
        AddIndexConcurrently(
            "uploaditem",
            models.Index(fields=["tenant", "upload", "created_at", "id"], name="item_by_arrival"),
        ),
        AddIndexConcurrently(
            "document",
            models.Index(
                fields=["tenant", "corpus", "state"], include=["tokens"], name="document_tokens"
            ),
        ),
    ]
