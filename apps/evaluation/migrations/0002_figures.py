from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0001_reports")]

    operations = [
        migrations.AddField(
            model_name="report",
            name="figures",
            field=models.JSONField(default=dict, db_default={}),
        ),
    ]
