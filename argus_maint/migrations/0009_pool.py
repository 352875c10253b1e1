from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("argus_maint", "0008_task_key"),
    ]

    operations = [
        migrations.AlterField(
            model_name="process",
            name="kind",
            field=models.CharField(
                choices=[
                    ("supervisor", "Supervisor"),
                    ("worker", "Worker"),
                    ("watcher", "Watcher"),
                    ("scheduler", "Scheduler"),
                    ("pool", "Pool"),
                ],
                max_length=16,
            ),
        ),
    ]
