"""Every setting, in one flat file. What differs between deployments comes from the environment (`.env.example`).

A missing or wrong value stops the start with a sentence that says what to do.
"""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from kombu import Queue

from config.celery import MOST_WAITING, QUEUE, pgmq_conn_string
from config.embedded import Embedded, ensure_keys
from vault.keyring import Keyring, KeyringError

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")


def _bool(name: str, default: bool) -> bool:
    text = env.str(name, default="1" if default else "0").strip().lower()
    if text not in {"1", "0", "true", "false", "yes", "no", "on", "off"}:
        raise ImproperlyConfigured(f"{name} is {text!r}: set it to 1 or 0.")
    return text in {"1", "true", "yes", "on"}


def _number(name: str, default: int, low: int, high: int) -> int:
    text = env.str(name, default=str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ImproperlyConfigured(f"{name} is {text!r}: set it to a number from {low} to {high}.")
    return int(text)


def _networks(name: str) -> list[str]:
    networks = []
    for text in env.list(name, default=[]):
        try:
            networks.append(str(ipaddress.ip_network(text.strip())))
        except ValueError as error:
            raise ImproperlyConfigured(
                f"{name}: {error}. Separate networks by commas, e.g. 127.0.0.0/8,10.1.0.0/16."
            ) from None
    return networks


def _proxy(name: str) -> str:
    """An http proxy's URL or "". A refusal does not repeat it: it may carry a password."""
    text = env.str(name, default="").strip()
    try:
        parts = urlsplit(text)
        fits = parts.scheme == "http" and parts.hostname and parts.port and parts.path in {"", "/"}
        fits = fits and not parts.query and not parts.fragment
    except ValueError:
        fits = False
    if text and not fits:
        raise ImproperlyConfigured(
            f"{name} is no http proxy's address: set it to http://proxy.example.com:3128 or "
            "http://user:password@proxy.example.com:3128."
        )
    return text


# Where the portal runs---

VAR = Path(env.str("VAR", default=str(BASE_DIR / "var"))).resolve()
HOST = env.str("HOST", default="127.0.0.1")
PORT = _number("PORT", 8000, 1, 65535)
PORTAL_URL = env.str("PORTAL_URL", default=f"http://{HOST}:{PORT}").rstrip("/")
if urlsplit(PORTAL_URL).scheme not in {"http", "https"} or not urlsplit(PORTAL_URL).hostname:
    raise ImproperlyConfigured(
        f"PORTAL_URL is {PORTAL_URL!r}: set it to the portal's public address, e.g. https://hooks.example.com."
    )
PORTAL_IS_HTTPS = PORTAL_URL.startswith("https://")

DEBUG = _bool("DEBUG", False)
try:
    KEYS = ensure_keys(VAR)
except OSError as error:
    raise ImproperlyConfigured(
        f"VAR is {str(VAR)!r}, which cannot be used ({error.strerror}): set it to a directory."
    ) from None
SECRET_KEY = env.str("SECRET_KEY", default="") or KEYS.secret_key
if len(SECRET_KEY) < 40:
    raise ImproperlyConfigured("SECRET_KEY is too short: leave it out, or set at least 40 random characters.")
KEYRING_FILE = Path(env.str("KEYRING_FILE", default="") or KEYS.keyring)
try:
    Keyring(KEYRING_FILE).key_ids  # noqa: B018
except KeyringError as error:
    raise ImproperlyConfigured(str(error)) from None
ALLOWED_HOSTS = [
    urlsplit(PORTAL_URL).hostname,
    HOST,
    "localhost",
    "127.0.0.1",
    "[::1]",
    *env.list("ALLOWED_HOSTS", default=[]),
]
CSRF_TRUSTED_ORIGINS = [PORTAL_URL]

# Database and broker-----

EMBEDDED = None if env.str("DATABASE_URL", default="") else Embedded(VAR)
try:
    _database = env.db_url_config(EMBEDDED.url() if EMBEDDED else env.str("DATABASE_URL"))
except Exception as error:
    raise ImproperlyConfigured(f"DATABASE_URL is not a database address: {error}") from None
if "postgresql" not in _database.get("ENGINE", ""):
    raise ImproperlyConfigured("DATABASE_URL must be a PostgreSQL address: postgres://user:password@host:5432/name.")
# Under ASGI each request has a thread of its own, so the web process pools its connections; the workers, which
# fork, keep one each. config/gunicorn.py sets the size.
_pool = _number("DATABASE_POOL", 0, 0, 500)
DATABASES = {
    "default": {
        **_database,
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": 0 if _pool else 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **_database.get("OPTIONS", {}),
            "connect_timeout": 5,
            **({"pool": {"min_size": 1, "max_size": _pool, "timeout": 5}} if _pool else {}),
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

WEB_CONCURRENCY = _number("WEB_CONCURRENCY", 1, 1, 256)
WORKER_CONCURRENCY = _number("WORKER_CONCURRENCY", 2, 1, 256)
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="pgmq://localhost/")
if urlsplit(CELERY_BROKER_URL).scheme not in {"pgmq", "amqp", "amqps", "redis", "rediss"}:
    raise ImproperlyConfigured(
        "CELERY_BROKER_URL is of an unknown kind: leave it out, or set an amqp:// or redis:// address."
    )

# Rooms-------------------

INSTALLED_APPS = [
    "config",
    "tenants",
    "vault",
    "sources",
    "events",
    "subscriptions",
    "deliveries",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "rest_framework",
    "django_filters",
    "django_htmx",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "config.probes.ProbesFirst",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "tenants.middleware.TenantScopeMiddleware",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["config.templatetags.look"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "tenants.context.tenancy",
            ],
        },
    }
]
FORM_RENDERER = "django.forms.renderers.DjangoTemplates"

# People------------------

AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
AUTH_PASSWORD_VALIDATORS.append(
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    }
)
ACCOUNT_ADAPTER = "tenants.accounts.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "tenants.account_forms.SignInForm",
    "change_password": "tenants.account_forms.ChangePasswordForm",
    "reset_password": "tenants.account_forms.ResetPasswordForm",
    "reset_password_from_key": "tenants.account_forms.ResetPasswordKeyForm",
    "reauthenticate": "tenants.account_forms.ReauthenticateForm",
    "add_email": "tenants.account_forms.AddEmailForm",
}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "optional"
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_LOGOUT_REDIRECT_URL = "/accounts/login/"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "dashboard"
EMAIL_BACKEND = env.str("EMAIL_BACKEND", default="django.core.mail.backends.console.EmailBackend")
try:
    import_string(EMAIL_BACKEND)
except ImportError:
    raise ImproperlyConfigured(
        f"EMAIL_BACKEND is {EMAIL_BACKEND!r}, which cannot be imported. To send mail by SMTP, set it to "
        "django.core.mail.backends.smtp.EmailBackend."
    ) from None
EMAIL_HOST = env.str("EMAIL_HOST", default="localhost")
EMAIL_PORT = _number("EMAIL_PORT", 25, 1, 65535)
EMAIL_HOST_USER = env.str("EMAIL_HOST_USER", default="")
EMAIL_HOST_PASSWORD = env.str("EMAIL_HOST_PASSWORD", default="")
EMAIL_USE_TLS = _bool("EMAIL_USE_TLS", False)
EMAIL_TIMEOUT = 10  # seconds; mail leaves after the commit, but in the request
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"Portcullis <portcullis@{urlsplit(PORTAL_URL).hostname}>")

# API---------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "tenants.authentication.ApiKeyAuthentication",
        "tenants.authentication.PortalSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.permissions.HasTenantPermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "tenants.pagination.NewestFirst",
    "DEFAULT_FILTER_BACKENDS": ["tenants.parameters.KnownParameters"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tenants.problems.exception_handler",
    "NON_FIELD_ERRORS_KEY": "non_field_errors",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Portcullis API",
    "DESCRIPTION": "Sources, events, subscriptions and deliveries of a tenant. Errors are RFC 9457 problem details. "
    "A list refuses query parameters that it does not know.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "ENUM_NAME_OVERRIDES": {
        "TenantStatus": "tenants.models.Tenant.Status",
        "SourceStatus": "sources.models.Source.Status",
        "SourceKind": "sources.models.Source.Kind",
        "ReceiptStatus": "events.models.Receipt.Status",
        "Severity": "events.models.Severity",
        "AlarmKind": "events.alarms.KINDS",
        "AlarmState": "events.alarms.STATES",
        "AlarmEnded": "events.alarms.ENDED",
        "SubscriptionState": "subscriptions.models.Subscription.State",
        "DeliveryKind": "deliveries.models.Delivery.Kind",
        "DeliveryStatus": "deliveries.models.Delivery.Status",
        "EndedDeliveryStatus": "deliveries.replay_serializers.ENDED",
        "ReplayKind": "deliveries.models.Replay.Kind",
        "ReplayState": "deliveries.models.Replay.State",
    },
}

# Work in the background--

# A Celery message is only a wake-up: it may be lost, so nothing is retried, kept or acknowledged late for its sake.
# docs/decisions/0003-pgmq-broker.md and docs/deploy/brokers.md tell what was tried of each broker.
_GIVE_UP = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}  # an absent broker: soon
if CELERY_BROKER_URL.startswith("pgmq:"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "conn_string": pgmq_conn_string(DATABASES["default"]),
        "init_extension": False,  # config/migrations/0001_pgmq.py installs it
        "use_notify": False,  # config/celery.py turns it on in the consuming process only
        "notify_throttle_interval_ms": 0,
        "wait_time_seconds": 0,  # LISTEN wakes the worker, no query waits for a message
        "polling_interval": 0.2,
        "visibility_timeout": 60,
        "pool_size": 4,
        "pool_timeout": 1,
        **_GIVE_UP,
    }
elif CELERY_BROKER_URL.startswith("redis"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "socket_connect_timeout": 3,
        # More than a worker's BRPOP waits (1 s). Left out, a silent server holds a publisher for ever.
        "socket_timeout": 5,
        "visibility_timeout": 60,
        **_GIVE_UP,
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"write_timeout": 5, **_GIVE_UP}
    # Nobody looks at what waits there: while no worker reads, RabbitMQ drops the oldest.
    CELERY_TASK_QUEUES = [Queue(QUEUE, queue_arguments={"x-max-length": MOST_WAITING})]
CELERY_TASK_DEFAULT_DELIVERY_MODE = "transient"
# Publishers send no heartbeats, so RabbitMQ would close their connections; TCP's keepalive finds the dead ones.
CELERY_BROKER_HEARTBEAT = 0
CELERY_BROKER_CONNECTION_TIMEOUT = 3
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_DEFAULT_QUEUE = QUEUE
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_WORKER_POOL = "config.pool:TaskPool"  # in place of prefork
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SYNC_EVERY = 0
_HOURLY = {"schedule": 3600.0, "options": {"expires": 3600}}
# Expiry is set by beat's clock and judged by the worker's: if theirs differ by more, nothing is ever swept.
WAKEUP_EXPIRES = 900  # seconds
_SOON = {"expires": WAKEUP_EXPIRES}
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "deliveries.tasks.sweep", "schedule": 1.0, "options": _SOON},
    "alarms": {"task": "events.tasks.alarms", "schedule": 60.0, "options": _SOON},
    "alarm mails": {"task": "events.tasks.alarm_mails", "schedule": 15.0, "options": _SOON},
    "failing mails": {"task": "subscriptions.tasks.failing_mails", "schedule": 15.0, "options": _SOON},
    "partitions": {"task": "events.tasks.partitions", **_HOURLY},
    "retention": {"task": "events.tasks.retention", **_HOURLY},
    "ended secrets": {"task": "sources.tasks.destroy_ended_secrets", **_HOURLY},
    "old replays": {"task": "deliveries.tasks.forget_replays", **_HOURLY},
    "unpolled": {"task": "deliveries.tasks.forget_polled", **_HOURLY},
    "old notices": {"task": "subscriptions.tasks.forget", **_HOURLY},
}

# Intake, delivery, retention -------------------------------------------------------------------------------------

INGEST_MAX_BYTES = 1_000_000  # P2: headers and body together
# A worker that dies holds what it was sending for so long. A request takes at most 15 s (deliveries/dispatch.py).
DELIVERY_LEASE_SECONDS = _number("DELIVERY_LEASE_SECONDS", 90, 20, 3600)
RETENTION_DAYS = _number("RETENTION_DAYS", 30, 1, 3650)
WEBHOOKS_FOR_NEW_TENANTS = env.bool("WEBHOOKS_FOR_NEW_TENANTS", default=True)  # false: operators let them in (S1)
EGRESS_ALLOW = _networks("EGRESS_ALLOW")
EGRESS_PROXY = _proxy("EGRESS_PROXY")
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000_000

# The browser-------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
    }
}
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PORTAL_IS_HTTPS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = PORTAL_IS_HTTPS and _bool("SSL_REDIRECT", True)
SECURE_HSTS_SECONDS = 31_536_000 if PORTAL_IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PORTAL_IS_HTTPS
SECURE_REFERRER_POLICY = "same-origin"
BEHIND_TLS_PROXY = _bool("BEHIND_TLS_PROXY", False)
if BEHIND_TLS_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# How many entries of X-Forwarded-For, counted from the right, proxies of ours wrote.
TRUSTED_PROXIES = _number("TRUSTED_PROXIES", int(BEHIND_TLS_PROXY), 0, 10)
X_FRAME_OPTIONS = "DENY"

STATIC_URL = "/static/"
STATIC_ROOT = VAR / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # empty where `collectstatic` never ran: then files are served from where they stand
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
    raise ImproperlyConfigured(f"LOG_LEVEL is {LOG_LEVEL!r}: set it to DEBUG, INFO, WARNING, ERROR or CRITICAL.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "config.logs.MaskingFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    # Anybody can send any Host. It is answered 400, and must not fill the log with tracebacks.
    "loggers": {"django.security.DisallowedHost": {"level": "CRITICAL"}},
}
