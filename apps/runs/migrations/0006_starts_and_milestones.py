import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.tenants.protection import SameTenant


class Migration(migrations.Migration):

    dependencies = [
        ('corpora', '0009_repeated_paragraphs'),
        ('registry', '0002_resting'),
        ('runs', '0005_expected_start'),
        ('tenants', '0004_groups_follow'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='run',
            name='run_inputs_fit_kind',
        ),
        migrations.AddField(
            model_name='run',
            name='base',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='registry.anchor'),
        ),
        migrations.AddField(
            model_name='runcheckpoint',
            name='is_milestone',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddConstraint(
            model_name='run',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('composition', None), ('kind__in', ['augment', 'estimate'])), models.Q(('augmenter__isnull', False), ('base', None), ('composition', None), ('kind', 'compose')), models.Q(('base', None), ('composition__isnull', False), ('kind', 'evaluate')), _connector='OR'), name='run_inputs_fit_kind'),
        ),
        SameTenant('runs_run', 'base_id', 'registry_anchor'),
    ]
