"""Shares of a conversation, and to whom."""

from __future__ import annotations

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import apps.tenants.scope
from apps.tenants.protection import Protect, SameTenant


def key() -> models.UUIDField:
    return models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)


def tenant() -> models.ForeignKey:
    return models.ForeignKey(
        db_index=False,
        default=apps.tenants.scope.current_tenant_id,
        editable=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="tenants.tenant",
    )


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0002_branches"),
        ("tenants", "0004_groups_follow"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Share",
            fields=[
                ("id", key()),
                ("title", models.CharField(max_length=80)),
                ("everybody", models.BooleanField(default=False)),
                ("expires_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                ("opened", models.PositiveIntegerField(default=0)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now()
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="shares",
                        to="chat.conversation",
                    ),
                ),
                ("tenant", tenant()),
                (
                    "upto",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="chat.message",
                    ),
                ),
            ],
            options={"ordering": ["-created_at", "pk"]},
        ),
        migrations.CreateModel(
            name="ShareViewer",
            fields=[
                ("id", key()),
                (
                    "group",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.group",
                    ),
                ),
                (
                    "share",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="viewers",
                        to="chat.share",
                    ),
                ),
                ("tenant", tenant()),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(user=None, group__isnull=False)
                        | models.Q(user__isnull=False, group=None),
                        name="share_viewer_is_one",
                    )
                ]
            },
        ),
        Protect("chat_share", "chat_shareviewer"),
        SameTenant("chat_share", "conversation_id", "chat_conversation"),
        SameTenant("chat_share", "upto_id", "chat_message"),
        SameTenant("chat_shareviewer", "share_id", "chat_share"),
        SameTenant("chat_shareviewer", "group_id", "tenants_group"),
    ]
