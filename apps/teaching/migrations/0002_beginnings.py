import django.db.models.deletion
from django.db import migrations, models

from apps.tenants.protection import SameTenant


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0002_resting'),
        ('teaching', '0001_plans'),
    ]

    operations = [
        migrations.AddField(
            model_name='plan',
            name='base',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='registry.anchor'),
        ),
        migrations.AddField(
            model_name='plan',
            name='earlier',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='plans', to='registry.augmenter'),
        ),
        migrations.AddField(
            model_name='plan',
            name='forget',
            field=models.JSONField(blank=True, db_default=[], default=list),
        ),
        SameTenant('teaching_plan', 'base_id', 'registry_anchor'),
        SameTenant('teaching_plan', 'earlier_id', 'registry_augmenter'),
    ]
