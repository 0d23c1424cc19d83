import apps.tenants.scope
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import uuid
from django.conf import settings
from django.db import migrations, models

from apps.tenants.protection import Protect, SameTenant


# The dispatcher sees every tenant's runs, but only what scheduling needs, and may write only the
# columns of a claim: never whose run it is, nor what it learns.
DISPATCH = """
    CREATE POLICY run_see ON runs_run FOR SELECT TO app_dispatch USING (true);
    CREATE POLICY run_move ON runs_run FOR UPDATE TO app_dispatch USING (true) WITH CHECK (true);
    GRANT SELECT (id, tenant_id, queue, state, priority, created_at,
                  epoch, attempts, lease_until, owner),
          UPDATE (state, epoch, attempts, lease_until, owner)
       ON runs_run TO app_dispatch;
"""
UNDO_DISPATCH = """
    DROP POLICY run_move ON runs_run;
    DROP POLICY run_see ON runs_run;
    REVOKE ALL ON runs_run FROM app_dispatch;
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("corpora", "__first__"),
        ("registry", "0001_registry"),
        ("tenants", "0002_memberships_and_groups"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("augment", "Augmenter"),
                            ("compose", "Composition"),
                            ("evaluate", "Evaluation"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("queue", models.CharField(default="gpu", max_length=20)),
                ("name", models.CharField(max_length=120)),
                ("spec", models.JSONField()),
                (
                    "closure",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), size=None
                    ),
                ),
                ("priority", models.SmallIntegerField(default=0)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("epoch", models.PositiveIntegerField(default=0)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("owner", models.CharField(blank=True, max_length=200)),
                ("cancel_requested_at", models.DateTimeField(blank=True, null=True)),
                ("died_at", models.PositiveIntegerField(blank=True, null=True)),
                ("failure_code", models.CharField(blank=True, max_length=60)),
                ("failure_text", models.TextField(blank=True)),
                ("outcome", models.JSONField(blank=True, null=True)),
                (
                    "control",
                    models.CharField(
                        choices=[("none", "The augmenter itself"), ("random", "Random augmenter")],
                        default="none",
                        max_length=8,
                    ),
                ),
                ("plan", models.UUIDField(blank=True, null=True)),
                ("stage", models.CharField(blank=True, max_length=40)),
                ("step", models.PositiveIntegerField(default=0)),
                ("total", models.PositiveIntegerField(default=0)),
                ("eta_seconds", models.FloatField(blank=True, null=True)),
                ("message", models.TextField(blank=True)),
                ("samples", models.JSONField(default=list)),
                ("heartbeat_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "anchor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="runs",
                        to="registry.anchor",
                    ),
                ),
                (
                    "augmenter",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="runs",
                        to="registry.augmenter",
                    ),
                ),
                (
                    "composition",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="runs",
                        to="registry.composition",
                    ),
                ),
                (
                    "control_run",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="evaluations",
                        to="runs.run",
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "snapshot",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="runs",
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
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="RunEvent",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("kind", models.CharField(max_length=30)),
                ("text", models.TextField()),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="runs.run",
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
                "ordering": ["at", "id"],
            },
        ),
        migrations.CreateModel(
            name="RunMetric",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("step", models.PositiveIntegerField()),
                ("name", models.CharField(max_length=80)),
                ("value", models.FloatField()),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="metrics",
                        to="runs.run",
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
                "ordering": ["name", "step"],
            },
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["tenant", "-created_at"], name="run_newest"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["tenant", "plan"], name="run_of_plan"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("state", "queued")),
                fields=["queue", "priority", "created_at"],
                name="run_waiting",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state__in", ["queued", "running", "succeeded", "failed", "cancelled"])
                ),
                name="run_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["augment", "compose", "evaluate"])),
                name="run_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("finished_at__isnull", False),
                        ("state__in", ("succeeded", "failed", "cancelled")),
                    ),
                    models.Q(("finished_at__isnull", True), ("state__in", ("queued", "running"))),
                    _connector="OR",
                ),
                name="run_finished_iff_final",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "failed"), models.Q(("failure_code", ""), _negated=True)),
                    models.Q(models.Q(("state", "failed"), _negated=True), ("failure_code", "")),
                    _connector="OR",
                ),
                name="run_failure_iff_failed",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("lease_until__isnull", False),
                        ("state", "running"),
                        models.Q(("owner", ""), _negated=True),
                    ),
                    models.Q(
                        models.Q(("state", "running"), _negated=True),
                        ("lease_until__isnull", True),
                        ("owner", ""),
                    ),
                    _connector="OR",
                ),
                name="run_lease_iff_running",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "succeeded"), _negated=True),
                    ("outcome__isnull", False),
                    _connector="OR",
                ),
                name="run_success_has_outcome",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("augmenter", None), ("composition", None), ("kind", "augment")),
                    models.Q(
                        ("augmenter__isnull", False), ("composition", None), ("kind", "compose")
                    ),
                    models.Q(("composition__isnull", False), ("kind", "evaluate")),
                    _connector="OR",
                ),
                name="run_inputs_fit_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("control", "none"),
                    models.Q(("control", "random"), ("kind", "compose")),
                    _connector="OR",
                ),
                name="run_control_composes",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(("closure", []), _negated=True), name="run_has_a_closure"
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("plan__isnull", False), ("state__in", ["queued", "running", "succeeded"])
                ),
                fields=("tenant", "plan", "kind", "control"),
                name="run_once_per_plan_step",
            ),
        ),
        migrations.AddIndex(
            model_name="runevent",
            index=models.Index(fields=["tenant", "run", "at"], name="run_event_story"),
        ),
        migrations.AddConstraint(
            model_name="runmetric",
            constraint=models.UniqueConstraint(
                fields=("tenant", "run", "step", "name"), name="run_metric_once"
            ),
        ),
        Protect(
            "runs_run",
            "runs_runmetric",
            "runs_runevent",
        ),
        SameTenant("runs_run", "snapshot_id", "corpora_snapshot"),
        SameTenant("runs_run", "anchor_id", "registry_anchor"),
        SameTenant("runs_run", "augmenter_id", "registry_augmenter"),
        SameTenant("runs_run", "composition_id", "registry_composition"),
        SameTenant("runs_run", "control_run_id", "runs_run"),
        SameTenant("runs_runmetric", "run_id", "runs_run"),
        SameTenant("runs_runevent", "run_id", "runs_run"),
        migrations.RunSQL(DISPATCH, UNDO_DISPATCH),
    ]
