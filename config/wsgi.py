"""What the web server loads."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Requests are served by the role that owns nothing and cannot rewrite history.
os.environ.setdefault("PLANGATE_DATABASE_ROLE", "app")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
