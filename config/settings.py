"""Settings, from the environment (docs/runbooks/configuration.md lists the names)."""

import os
from pathlib import Path

import dj_database_url
import structlog
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.urls import reverse_lazy

from config.admin import theme
from config.database import connection_url
from config.secrets import secret

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("PLANGATE_DEBUG") == "1"
SECRET_KEY = secret("PLANGATE_SECRET_KEY").hex()
MASTER_KEY = secret("PLANGATE_MASTER_KEY")
"""Derives service-key secrets and signs platform tokens; losing it voids them all."""

PUBLIC_URL = os.environ.get("PLANGATE_PUBLIC_URL", "http://127.0.0.1:8000")
TOKEN_ISSUER = PUBLIC_URL
TOKEN_AUDIENCE = os.environ.get("PLANGATE_TOKEN_AUDIENCE", "plangate")
ALLOWED_HOSTS = os.environ.get("PLANGATE_ALLOWED_HOSTS", "127.0.0.1,localhost").split(
    ","
)
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SECURE = PUBLIC_URL.startswith("https://")

INSTALLED_APPS = [
    # Its default configuration would put a site of its own in place of ours.
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.import_export",
    "config.admin.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "axes",
    "csp",
    "import_export",
    "simple_history",
    "procrastinate.contrib.django",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "config.tenancy",
    "catalog",
    "billing",
    "grants",
    "gating",
    "demo",
]

MIDDLEWARE = [
    "config.api.middleware.Tracing",
    "config.api.middleware.PlainAddress",
    "config.api.middleware.DatabaseDown",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.api.middleware.PagePolicy",
    "config.api.middleware.PageSessions",
    "django.middleware.csrf.CsrfViewMiddleware",
    "config.api.middleware.PageAuthentication",
    "config.api.middleware.PageMessages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
# What of it a request of a service passes through (`config.api.requests`).
SERVICE_MIDDLEWARE = [
    "config.api.middleware.Tracing",
    "config.api.middleware.PlainAddress",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

_ROLE = os.environ.get("PLANGATE_DATABASE_ROLE", "owner")
_TIMEOUTS = (
    "-c lock_timeout=4000 -c idle_in_transaction_session_timeout=30000 -c timezone=UTC"
)
if _ROLE == "app":
    # Not for the owner: a migration may have to look at every row of a large table.
    _TIMEOUTS += " -c statement_timeout=30000"
DATABASES = {
    "default": {
        **dj_database_url.parse(connection_url(_ROLE)),
        # One connection per thread, kept; checked before use, so that a restarted
        # database is found again without restarting this process.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "options": _TIMEOUTS,
            "connect_timeout": 5,
            # Django turns prepared statements off; psycopg's own default lets the gate
            # prepare its calls. The ORM binds on the client and never prepares. Poolers
            # by transaction must know them (PgBouncer 1.21, max_prepared_statements).
            "prepare_threshold": 5,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    "config.tenancy.roles.RoleBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = 0.25
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "admin/locked_out.html"
AXES_VERBOSE = False
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

PROCRASTINATE_AUTODISCOVER_MODULE_NAME = "jobs"

SIMPLE_HISTORY_ENABLED = False
"""The database writes history (config/tenancy/history.py), not Python."""
SIMPLE_HISTORY_DATE_INDEX = False
IMPORT_EXPORT_ESCAPE_FORMULAE_ON_EXPORT = True

UNFOLD = theme.UNFOLD

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = ["config.admin.formats"]

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = os.environ.get("PLANGATE_STATIC_ROOT")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

SESSION_COOKIE_SECURE = SECURE
CSRF_COOKIE_SECURE = SECURE
SECURE_SSL_REDIRECT = SECURE
# Only where a proxy ends TLS and sets the header itself may it be believed.
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https")
    if os.environ.get("PLANGATE_BEHIND_PROXY") == "1"
    else None
)
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SESSION_COOKIE_AGE = 60 * 60 * 12
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # The admin theme evaluates its component expressions (Alpine).
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    },
}

REST_FRAMEWORK: dict[str, object] = {
    "DEFAULT_SCHEMA_CLASS": "config.api.openapi.schema.OperationSchema",
    "EXCEPTION_HANDLER": "config.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_AUTHENTICATION_CLASSES": [],
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Plangate",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "DESCRIPTION": "Who may use what, under which plan, paid by which money.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/(mgt|api)/v1",
    "DEFAULT_GENERATOR_CLASS": "config.api.openapi.generator.OperationsGenerator",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        # No badge from a foreign validator, and no buttons that cannot sign.
        "validatorUrl": None,
        "supportedSubmitMethods": [],
    },
    # The default hook pulls enums into components of their own and renames them.
    "POSTPROCESSING_HOOKS": [],
}

_renderer: structlog.typing.Processor = (
    structlog.dev.ConsoleRenderer() if DEBUG else structlog.processors.JSONRenderer()
)
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _renderer,
    ],
    wrapper_class=structlog.make_filtering_bound_logger(
        int(os.environ.get("PLANGATE_LOG_LEVEL", "20"))
    ),
    logger_factory=structlog.PrintLoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # Refusals are answers, not warnings; unexpected errors are logged once by us.
        # Above every level: else each refusal makes a record that goes nowhere.
        "django.request": {
            "handlers": ["nowhere"],
            "propagate": False,
            "level": "CRITICAL",
        },
        "axes": {"level": "ERROR"},
    },
}
