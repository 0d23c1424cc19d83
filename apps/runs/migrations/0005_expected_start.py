from django.db import migrations

# When a run begins depends on what works and waits before it: how far that is, and of which kind.
EXPECT = """
    GRANT SELECT (kind, step, total, eta_seconds, heartbeat_at, used_seconds)
       ON runs_run TO app_dispatch;
"""
UNDO_EXPECT = """
    REVOKE SELECT (kind, step, total, eta_seconds, heartbeat_at, used_seconds)
        ON runs_run FROM app_dispatch;
"""


class Migration(migrations.Migration):

    dependencies = [('runs', '0004_sealed_webhook_secrets')]

    operations = [migrations.RunSQL(EXPECT, UNDO_EXPECT)]
