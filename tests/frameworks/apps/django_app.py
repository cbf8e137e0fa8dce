"""Django: the site that django_settings and django_views describe."""

from __future__ import annotations

import os

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "django_settings"
app = get_wsgi_application()

if "DATABASE" in os.environ:
    call_command("migrate", verbosity=0)
    get_user_model().objects.create_superuser("ada", password="lovelace")
