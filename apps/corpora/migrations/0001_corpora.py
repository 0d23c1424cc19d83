

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import apps.tenants.scope
from apps.tenants.protection import AppendOnly, Protect, SameTenant


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("tenants", "0002_memberships_and_groups"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Corpus",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=120)),
                ("description", models.TextField(blank=True, default="")),
                (
                    "sensitivity",
                    models.CharField(
                        choices=[
                            ("public", "public"),
                            ("internal", "internal"),
                            ("confidential", "confidential"),
                            ("secret", "secret"),
                        ],
                        default="internal",
                        max_length=20,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="corpora",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="CorpusGrant",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "right",
                    models.CharField(
                        choices=[
                            ("read", "may read"),
                            ("curate", "may curate"),
                            ("export", "may export"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "corpus",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="grants",
                        to="corpora.corpus",
                    ),
                ),
                (
                    "group",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.group",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["created_at"],
            },
        ),
        migrations.CreateModel(
            name="Document",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("title", models.CharField(max_length=200)),
                ("path", models.CharField(max_length=1000)),
                ("media_type", models.CharField(max_length=100)),
                ("size", models.BigIntegerField(default=0)),
                ("original_digest", models.CharField(max_length=64)),
                ("text_digest", models.CharField(max_length=64)),
                ("tokens", models.PositiveIntegerField(default=0)),
                ("language", models.CharField(blank=True, default="", max_length=8)),
                ("facts", models.JSONField(blank=True, default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("ready", "ready"),
                            ("excluded", "left out"),
                            ("withdrawn", "withdrawn"),
                        ],
                        default="ready",
                        max_length=10,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "corpus",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="documents",
                        to="corpora.corpus",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["path", "created_at"],
            },
        ),
        migrations.CreateModel(
            name="Example",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("digest", models.CharField(max_length=64)),
                ("question", models.TextField()),
                ("answer", models.TextField()),
                ("expected", models.TextField()),
                ("entity", models.CharField(blank=True, default="", max_length=200)),
                ("value", models.CharField(blank=True, default="", max_length=200)),
                ("kind", models.CharField(default="recall", max_length=60)),
                ("excluded", models.BooleanField(default=False)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "added_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "corpus",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="examples",
                        to="corpora.corpus",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["created_at", "digest"],
            },
        ),
        migrations.CreateModel(
            name="Snapshot",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("digest", models.CharField(max_length=64)),
                ("manifest", models.JSONField()),
                ("documents", models.PositiveIntegerField()),
                ("tokens", models.PositiveBigIntegerField()),
                ("note", models.CharField(blank=True, default="", max_length=300)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "corpus",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="snapshots",
                        to="corpora.corpus",
                    ),
                ),
                (
                    "frozen_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="Upload",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("source", models.CharField(default="page", max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "corpus",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="uploads",
                        to="corpora.corpus",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="UploadItem",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("path", models.CharField(max_length=1000)),
                ("size", models.BigIntegerField(default=0)),
                ("digest", models.CharField(blank=True, default="", max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("received", "received"),
                            ("extracting", "being read"),
                            ("stored", "stored"),
                            ("duplicate", "duplicate"),
                            ("rejected", "rejected"),
                            ("container", "unpacked"),
                        ],
                        default="received",
                        max_length=12,
                    ),
                ),
                ("code", models.CharField(blank=True, default="", max_length=40)),
                ("facts", models.JSONField(blank=True, default=dict)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "document",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="items",
                        to="corpora.document",
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="inner",
                        to="corpora.uploaditem",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "upload",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="items",
                        to="corpora.upload",
                    ),
                ),
            ],
            options={
                "ordering": ["created_at", "path"],
            },
        ),
        migrations.AddConstraint(
            model_name="corpus",
            constraint=models.UniqueConstraint(fields=("tenant", "name"), name="corpus_name_once"),
        ),
        migrations.AddConstraint(
            model_name="corpusgrant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("group__isnull", False), ("user__isnull", True)),
                    models.Q(("group__isnull", True), ("user__isnull", False)),
                    _connector="OR",
                ),
                name="grant_to_exactly_one",
            ),
        ),
        migrations.AddConstraint(
            model_name="corpusgrant",
            constraint=models.UniqueConstraint(
                fields=("tenant", "corpus", "user", "group", "right"),
                name="grant_once",
                nulls_distinct=False,
            ),
        ),
        migrations.AddIndex(
            model_name="document",
            index=models.Index(fields=["tenant", "corpus", "state"], name="document_by_state"),
        ),
        migrations.AddConstraint(
            model_name="document",
            constraint=models.UniqueConstraint(
                fields=("tenant", "corpus", "original_digest"), name="document_once_per_corpus"
            ),
        ),
        migrations.AddConstraint(
            model_name="example",
            constraint=models.UniqueConstraint(
                fields=("tenant", "corpus", "digest"), name="example_once_per_corpus"
            ),
        ),
        migrations.AddConstraint(
            model_name="snapshot",
            constraint=models.UniqueConstraint(
                fields=("tenant", "corpus", "digest"), name="snapshot_once_per_corpus"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(fields=["tenant", "corpus", "-created_at"], name="upload_by_corpus"),
        ),
        migrations.AddIndex(
            model_name="uploaditem",
            index=models.Index(fields=["tenant", "upload", "state"], name="item_by_state"),
        ),
        migrations.AddIndex(
            model_name="uploaditem",
            index=models.Index(
                condition=models.Q(("state__in", ["received", "extracting"])),
                fields=["tenant", "created_at"],
                name="item_in_progress",
            ),
        ),
        migrations.AddConstraint(
            model_name="uploaditem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "rejected"), models.Q(("code", ""), _negated=True)),
                    models.Q(models.Q(("state", "rejected"), _negated=True), ("code", "")),
                    _connector="OR",
                ),
                name="item_code_iff_rejected",
            ),
        ),
        migrations.AddConstraint(
            model_name="uploaditem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("document__isnull", False), ("state__in", ["stored", "duplicate"])),
                    models.Q(
                        models.Q(("state__in", ["stored", "duplicate"]), _negated=True),
                        ("document__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="item_document_iff_kept",
            ),
        ),
        Protect(
            "corpora_corpus",
            "corpora_corpusgrant",
            "corpora_upload",
            "corpora_uploaditem",
            "corpora_document",
            "corpora_example",
            "corpora_snapshot",
        ),
        SameTenant("corpora_corpusgrant", "corpus_id", "corpora_corpus"),
        SameTenant("corpora_corpusgrant", "group_id", "tenants_group"),
        SameTenant("corpora_upload", "corpus_id", "corpora_corpus"),
        SameTenant("corpora_uploaditem", "upload_id", "corpora_upload"),
        SameTenant("corpora_uploaditem", "parent_id", "corpora_uploaditem"),
        SameTenant("corpora_uploaditem", "document_id", "corpora_document"),
        SameTenant("corpora_document", "corpus_id", "corpora_corpus"),
        SameTenant("corpora_example", "corpus_id", "corpora_corpus"),
        SameTenant("corpora_snapshot", "corpus_id", "corpora_corpus"),
        AppendOnly("corpora_snapshot"),
    ]
