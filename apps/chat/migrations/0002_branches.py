"""Branches, ratings, pins, folders and conversations that are not kept.

Until here every question followed the last answer before it. The owner of the tables is bound by
row-level security like everybody else: for the one statement that says so of the rows that are
there, it is not forced.
"""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

from apps.tenants.protection import SameTenant

FOLLOW = """
    ALTER TABLE chat_message NO FORCE ROW LEVEL SECURITY;
    UPDATE chat_message question SET follows_id = (
        SELECT answer.id FROM chat_message answer
        WHERE answer.tenant_id = question.tenant_id
        AND answer.conversation_id = question.conversation_id
        AND answer.role = 'assistant' AND answer.position < question.position
        ORDER BY answer.position DESC LIMIT 1
    ) WHERE question.role = 'user';
    SET CONSTRAINTS ALL IMMEDIATE;
    ALTER TABLE chat_message FORCE ROW LEVEL SECURITY;
"""


class Migration(migrations.Migration):
    dependencies = [("chat", "0001_conversations")]

    operations = [
        migrations.AddField(
            model_name="conversation",
            name="pinned_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="conversation",
            name="folder",
            field=models.CharField(blank=True, db_default="", default="", max_length=40),
        ),
        migrations.AddField(
            model_name="conversation",
            name="is_temporary",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="message",
            name="follows",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="followed_by",
                to="chat.message",
            ),
        ),
        migrations.RunSQL(FOLLOW, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="message",
            name="rating",
            field=models.SmallIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="rating_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("wrong", "wrong"),
                    ("outdated", "outdated"),
                    ("incomplete", "incomplete"),
                    ("unsafe", "unsafe"),
                    ("other", "something else"),
                ],
                db_default="",
                default="",
                max_length=12,
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="rating_text",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.CheckConstraint(
                condition=models.Q(role="user") | models.Q(follows=None),
                name="message_question_follows",
            ),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.CheckConstraint(
                condition=models.Q(rating=None)
                | models.Q(rating__in=[-1, 1], role="assistant"),
                name="message_answer_is_rated",
            ),
        ),
        SameTenant("chat_message", "follows_id", "chat_message"),
    ]
