import apps.tenants.scope
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import uuid
from django.conf import settings
from django.db import migrations, models

from apps.tenants.protection import AppendOnly, Protect, SameTenant


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("corpora", "__first__"),
        ("tenants", "0002_memberships_and_groups"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Anchor",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=120)),
                ("digest", models.CharField(max_length=64)),
                ("licence", models.CharField(blank=True, max_length=120)),
                ("parameters", models.BigIntegerField(default=0)),
                ("vocabulary", models.IntegerField(default=0)),
                ("source", models.CharField(blank=True, max_length=400)),
                ("public", models.BooleanField(default=True)),
                ("facts", models.JSONField(default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "imported_by",
                    models.ForeignKey(
                        null=True,
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
                "ordering": ["name", "created_at"],
            },
        ),
        migrations.CreateModel(
            name="Augmenter",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=120)),
                ("version", models.PositiveIntegerField()),
                ("digest", models.CharField(max_length=64)),
                ("run_id", models.UUIDField()),
                (
                    "closure",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), size=None
                    ),
                ),
                ("parameters", models.BigIntegerField(default=0)),
                ("metrics", models.JSONField(default=dict)),
                ("facts", models.JSONField(default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "anchor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="augmenters",
                        to="registry.anchor",
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
                "ordering": ["name", "-version"],
            },
        ),
        migrations.CreateModel(
            name="AugmenterSnapshot",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "augmenter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, to="registry.augmenter"
                    ),
                ),
                (
                    "snapshot",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, to="corpora.snapshot"
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
        ),
        migrations.AddField(
            model_name="augmenter",
            name="snapshots",
            field=models.ManyToManyField(
                related_name="augmenters",
                through="registry.AugmenterSnapshot",
                to="corpora.snapshot",
            ),
        ),
        migrations.CreateModel(
            name="Composition",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=120)),
                ("version", models.PositiveIntegerField()),
                ("digest", models.CharField(max_length=64)),
                ("run_id", models.UUIDField()),
                (
                    "closure",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), size=None
                    ),
                ),
                ("parents", models.JSONField(default=dict)),
                ("metrics", models.JSONField(default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[("ready", "Ready"), ("quarantined", "Quarantined")],
                        default="ready",
                        max_length=12,
                    ),
                ),
                ("state_reason", models.TextField(blank=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "anchor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="compositions",
                        to="registry.anchor",
                    ),
                ),
                (
                    "snapshot",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="compositions",
                        to="corpora.snapshot",
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
                "ordering": ["name", "-version"],
            },
        ),
        migrations.CreateModel(
            name="AliasChange",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("model", models.CharField(max_length=120)),
                ("name", models.CharField(max_length=12)),
                ("reason", models.TextField(blank=True)),
                ("gates", models.JSONField(default=list)),
                ("report_id", models.UUIDField(null=True)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
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
                (
                    "after",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="alias_changes",
                        to="registry.composition",
                    ),
                ),
                (
                    "before",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="registry.composition",
                    ),
                ),
            ],
            options={
                "ordering": ["-at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="Alias",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("model", models.CharField(max_length=120)),
                (
                    "name",
                    models.CharField(
                        choices=[("live", "live"), ("candidate", "candidate")], max_length=12
                    ),
                ),
                (
                    "moved_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
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
                    "composition",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="aliases",
                        to="registry.composition",
                    ),
                ),
            ],
            options={
                "ordering": ["model", "name"],
            },
        ),
        migrations.CreateModel(
            name="CompositionPart",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "augmenter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, to="registry.augmenter"
                    ),
                ),
                (
                    "composition",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, to="registry.composition"
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
                "ordering": ["position"],
            },
        ),
        migrations.AddField(
            model_name="composition",
            name="augmenters",
            field=models.ManyToManyField(
                related_name="compositions",
                through="registry.CompositionPart",
                to="registry.augmenter",
            ),
        ),
        migrations.CreateModel(
            name="ModelHost",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
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
        ),
        migrations.CreateModel(
            name="Placement",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("address", models.CharField(blank=True, max_length=200)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("starting", "Starting"),
                            ("ready", "Ready"),
                            ("failed", "Failed"),
                            ("stopping", "Stopping"),
                        ],
                        default="starting",
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                (
                    "seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "composition",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="placements",
                        to="registry.composition",
                    ),
                ),
                (
                    "host",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="placements",
                        to="registry.modelhost",
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
                "ordering": ["-started_at"],
            },
        ),
        migrations.AddConstraint(
            model_name="anchor",
            constraint=models.UniqueConstraint(
                fields=("tenant", "digest"), name="anchor_once_per_tenant"
            ),
        ),
        migrations.AddConstraint(
            model_name="anchor",
            constraint=models.CheckConstraint(
                condition=models.Q(("public", True)), name="anchor_is_declared_public"
            ),
        ),
        migrations.AddConstraint(
            model_name="augmentersnapshot",
            constraint=models.UniqueConstraint(
                fields=("tenant", "augmenter", "snapshot"), name="augmenter_snapshot_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="augmenter",
            constraint=models.UniqueConstraint(
                fields=("tenant", "name", "version"), name="augmenter_version_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="augmenter",
            constraint=models.UniqueConstraint(
                fields=("tenant", "run_id"), name="augmenter_once_per_run"
            ),
        ),
        migrations.AddConstraint(
            model_name="augmenter",
            constraint=models.CheckConstraint(
                condition=models.Q(("closure", []), _negated=True), name="augmenter_has_a_closure"
            ),
        ),
        migrations.AddConstraint(
            model_name="alias",
            constraint=models.UniqueConstraint(
                fields=("tenant", "model", "name"), name="alias_has_one_target"
            ),
        ),
        migrations.AddConstraint(
            model_name="alias",
            constraint=models.CheckConstraint(
                condition=models.Q(("name__in", ["live", "candidate"])), name="alias_name_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="compositionpart",
            constraint=models.UniqueConstraint(
                fields=("tenant", "composition", "position"), name="composition_part_place_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="composition",
            constraint=models.UniqueConstraint(
                fields=("tenant", "name", "version"), name="composition_version_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="composition",
            constraint=models.UniqueConstraint(
                fields=("tenant", "run_id"), name="composition_once_per_run"
            ),
        ),
        migrations.AddConstraint(
            model_name="composition",
            constraint=models.CheckConstraint(
                condition=models.Q(("closure", []), _negated=True), name="composition_has_a_closure"
            ),
        ),
        migrations.AddConstraint(
            model_name="modelhost",
            constraint=models.UniqueConstraint(fields=("tenant", "name"), name="model_host_once"),
        ),
        migrations.AddConstraint(
            model_name="placement",
            constraint=models.UniqueConstraint(
                fields=("tenant", "composition", "host"), name="placement_once_per_host"
            ),
        ),
        migrations.AddConstraint(
            model_name="placement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "ready"), _negated=True),
                    models.Q(("address", ""), _negated=True),
                    _connector="OR",
                ),
                name="placement_ready_has_address",
            ),
        ),
        Protect(
            "registry_anchor",
            "registry_augmenter",
            "registry_augmentersnapshot",
            "registry_composition",
            "registry_compositionpart",
            "registry_alias",
            "registry_aliaschange",
            "registry_modelhost",
            "registry_placement",
        ),
        SameTenant("registry_augmenter", "anchor_id", "registry_anchor"),
        SameTenant("registry_augmentersnapshot", "augmenter_id", "registry_augmenter"),
        SameTenant("registry_augmentersnapshot", "snapshot_id", "corpora_snapshot"),
        SameTenant("registry_composition", "anchor_id", "registry_anchor"),
        SameTenant("registry_composition", "snapshot_id", "corpora_snapshot"),
        SameTenant("registry_compositionpart", "composition_id", "registry_composition"),
        SameTenant("registry_compositionpart", "augmenter_id", "registry_augmenter"),
        SameTenant("registry_alias", "composition_id", "registry_composition"),
        SameTenant("registry_aliaschange", "before_id", "registry_composition"),
        SameTenant("registry_aliaschange", "after_id", "registry_composition"),
        SameTenant("registry_placement", "composition_id", "registry_composition"),
        SameTenant("registry_placement", "host_id", "registry_modelhost"),
        AppendOnly("registry_aliaschange"),
    ]
