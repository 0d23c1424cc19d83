from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0003_embedders'),
    ]

    operations = [
        migrations.AddField(
            model_name='alias',
            name='keep_warm',
            field=models.BooleanField(db_default=False),
        ),
        migrations.AddField(
            model_name='placement',
            name='asked_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='placement',
            name='places',
            field=models.PositiveIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='placement',
            name='under_way',
            field=models.PositiveIntegerField(db_default=0),
        ),
        migrations.AlterField(
            model_name='placement',
            name='state',
            field=models.CharField(choices=[('starting', 'Starting'), ('ready', 'Ready'), ('failed', 'Failed'), ('stopping', 'Stopping'), ('resting', 'Resting'), ('asleep', 'Asleep')], default='starting', max_length=10),
        ),
    ]
