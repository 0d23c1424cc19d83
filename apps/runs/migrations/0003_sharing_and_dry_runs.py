from django.db import migrations, models

# A slot's row is locked by whoever decides about its device, and says who holds it and who asks.
DISPATCH = """
    GRANT SELECT, UPDATE (serving_until, serving_bytes, serving_asked_at, training_asked_at)
       ON runs_slot TO app_dispatch;
"""
UNDO_DISPATCH = "REVOKE ALL ON runs_slot FROM app_dispatch;"


class Migration(migrations.Migration):

    dependencies = [('runs', '0002_scheduling_checkpoints_notices')]

    operations = [
        migrations.RemoveConstraint(
            model_name='run',
            name='run_kind_known',
        ),
        migrations.RemoveConstraint(
            model_name='run',
            name='run_inputs_fit_kind',
        ),
        migrations.AddField(
            model_name='slot',
            name='serving_asked_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='slot',
            name='serving_bytes',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='slot',
            name='serving_until',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='slot',
            name='training_asked_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='run',
            name='kind',
            field=models.CharField(choices=[('augment', 'Augmenter'), ('compose', 'Composition'), ('evaluate', 'Evaluation'), ('estimate', 'Dry run')], max_length=10),
        ),
        migrations.AddConstraint(
            model_name='run',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['augment', 'compose', 'evaluate', 'estimate'])), name='run_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='run',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('augmenter', None), ('composition', None), ('kind__in', ['augment', 'estimate'])), models.Q(('augmenter__isnull', False), ('composition', None), ('kind', 'compose')), models.Q(('composition__isnull', False), ('kind', 'evaluate')), _connector='OR'), name='run_inputs_fit_kind'),
        ),
        migrations.RunSQL(DISPATCH, UNDO_DISPATCH),
    ]
