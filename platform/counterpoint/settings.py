"""The only settings file. Everything a site may change comes from the environment."""

from __future__ import annotations

import json
import os
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

from calm_engine.errors import InputError
from counterpoint import env, samlfile
from counterpoint.release import version

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = ROOT / "platform"
HOME = env.home_folder()

# Nothing leaves: whoever is imported later finds these set.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

RELEASE = version()  # workers tell which one they run

# ---- the site ------------------------------------------------------------------------------------
DEBUG = False
SECRET_KEY = env.secret("SECRET_KEY", file="secret-key")
AUDIT_KEY = env.secret("AUDIT_KEY", file="audit-key")
AUDIT_SINKS = [each.strip() for each in env.text("AUDIT_SINKS").split(",") if each.strip()]
ANCHOR_KEY = env.secret("ANCHOR_KEY", file="anchor-key")  # signs where the audit log stands
WEBHOOK_KEY = env.secret("WEBHOOK_KEY", file="webhook-key")
SITE_KEYS = env.text("SITE_KEYS", "file", among=("file", "vault"))
SITE_KEY = env.secret("SITE_KEY", file="site-key" if SITE_KEYS == "file" else "")
VAULT_ADDR = env.text("VAULT_ADDR")
VAULT_TOKEN = env.secret("VAULT_TOKEN")
VAULT_KEY = env.text("VAULT_KEY", "counterpoint")
SITE_URL = env.text("COUNTERPOINT_URL", "http://127.0.0.1:8000")
ALLOWED_HOSTS = env.text("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]").split(",")
HTTPS = SITE_URL.startswith("https://")
ROOT_URLCONF = "counterpoint.urls"
ASGI_APPLICATION = "counterpoint.asgi.application"
SILENCED_SYSTEM_CHECKS = ["django_vite.W001"]  # counterpoint.W002 says the same, and what to do
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "counterpoint",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "axes",
    "csp",
    "django.forms",
    "django_cotton.apps.SimpleAppConfig",
    "django_htmx",
    "django_vite",
    "apps.tenants",
    "apps.accounts",
    "apps.audit",
    "apps.corpora",
    "apps.registry",
    "apps.runs",
    "apps.evaluation",
    "apps.teaching",
    "apps.chat",
    "apps.forgetting",
    "apps.home",
    "apps.look",
    "apps.api",
    "apps.operate",
    "apps.demo",
]
MIDDLEWARE = [
    "counterpoint.watch.requests.counted",
    "counterpoint.middleware.permissions_policy",
    "counterpoint.programs.straight",  # what stands below is for people
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "counterpoint.middleware.tenant_of_request",
    "axes.middleware.AxesMiddleware",  # last: turns a lock-out into its page
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PLATFORM / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    [
                        "django_cotton.cotton_loader.Loader",
                        "django.template.loaders.filesystem.Loader",
                        "django.template.loaders.app_directories.Loader",
                    ],
                )
            ],
            "builtins": ["django_cotton.templatetags.cotton"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "counterpoint.context.site",
            ],
        },
    }
]

FORM_RENDERER = "django.forms.renderers.TemplatesSetting"  # our templates before Django's
COTTON_DIR = "components"  # below `templates`: what pages write as <c-name />

# ---- engines -------------------------------------------------------------------------------------
EMBEDDED = env.text("COUNTERPOINT_EMBEDDED", "auto", among=("auto", "never"))
CONNECTION_FILE = HOME / "connection.json"


def engine_url(name: str, key: str) -> str:
    """The address in the environment, else the embedded engine's, else empty: a check refuses."""
    if given := env.secret(name):
        return given
    if EMBEDDED == "never" or not CONNECTION_FILE.exists():
        return ""
    return str(json.loads(CONNECTION_FILE.read_text(encoding="utf-8")).get(key, ""))


TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
DATABASE_TLS = {"sslmode": env.text("DATABASE_TLS", "prefer", among=TLS_MODES)}
if DATABASE_CA := env.text("DATABASE_CA_FILE"):
    DATABASE_TLS["sslrootcert"] = DATABASE_CA
REDIS_CA = env.text("REDIS_CA_FILE")  # for a rediss:// address that a private authority signed


def database(name: str, key: str) -> dict[str, Any]:
    """One login, in the shape that Django wants."""
    # With no engine known yet, commands that need none still run; nothing listens on port 1.
    url = engine_url(name, key) or "postgres://app_rw@127.0.0.1:1/counterpoint"
    return {
        **env.database(name, url),
        "ENGINE": "counterpoint.database",
        "ATOMIC_REQUESTS": True,
        "CONN_MAX_AGE": env.number("DATABASE_CONN_MAX_AGE", 0),
        "OPTIONS": {
            **DATABASE_TLS,
            "connect_timeout": 5,
            "application_name": f"counterpoint {version()}",
            "prepare_threshold": None,  # a transaction pooler hands each one another connection
        },
    }


DATABASE_POOL = env.number("DATABASE_POOL", 32, most=1000)  # connections of a web process
DATABASE_POOL_SECONDS = env.number("DATABASE_POOL_SECONDS", 10, least=1, most=300)
DATABASES = {
    "default": database("DATABASE_URL", "database_url"),
    # The owner of the tables, for `migrate` alone; the web of a cluster is never given its login.
    "owner": database("DATABASE_OWNER_URL", "database_owner_url") | {"ATOMIC_REQUESTS": False},
}
REDIS_URL = engine_url("REDIS_URL", "redis_url")
ENGINES_KNOWN = bool(REDIS_URL and engine_url("DATABASE_URL", "database_url"))
REDIS_URL = env.redis_url(REDIS_URL or "redis://127.0.0.1:1/0", ca=REDIS_CA)

CELERY_BROKER_URL = REDIS_URL
if REDIS_URL.startswith("rediss:"):
    CELERY_BROKER_USE_SSL = {"ssl_cert_reqs": ssl.CERT_REQUIRED} | (
        {"ssl_ca_certs": REDIS_CA} if REDIS_CA else {}
    )
CELERY_IMPORTS = (
    "workers.ingestion",
    "workers.gpu",
    "workers.housekeeping",
    "workers.watch",
    "workers.figures",
    "workers.deliveries",
)
CELERY_TASK_DEFAULT_QUEUE = "short"
CELERY_TASK_ACKS_LATE = False  # runs are acknowledged before the work: the lease decides
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = env.number("WORKER_DRAIN_SECONDS", 10)
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,  # seconds; matters to short tasks only
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
    # For senders alone: a request does not wait for a broker that is away. Workers do, for ever.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
}

# ---- runs ----------------------------------------------------------------------------------------
# Where one accelerator answers chats and trains: both as it fits, training first, or by the hour.
ACCELERATOR_POLICY = env.text("ACCELERATOR_POLICY", "share", among=("share", "drain", "night"))
ACCELERATOR_NIGHT = env.hours("ACCELERATOR_NIGHT", "20:00-06:00")
RUN_LAUNCHER = env.text("RUN_LAUNCHER", "subprocess", among=("subprocess", "kubernetes"))
RUN_NAMESPACE = env.text("RUN_NAMESPACE", "counterpoint")  # this and the next: kubernetes alone
RUN_IMAGE = env.text("RUN_IMAGE", "counterpoint-engine")
RUN_VOLUME_CLAIM = env.text("RUN_VOLUME_CLAIM", "counterpoint-home")
RUN_RESOURCES = env.text("RUN_RESOURCES", "{}")  # limits of a pod, as JSON
RUN_NODES = env.number("RUN_NODES", 1, least=1)
RUN_LEASE_SECONDS = env.number("RUN_LEASE_SECONDS", 90, least=2, most=600)
RUN_HEARTBEAT_SECONDS = env.number("RUN_HEARTBEAT_SECONDS", 15, least=1, most=60)
RUN_MAX_ATTEMPTS = env.number("RUN_MAX_ATTEMPTS", 10, least=1)
RUN_KEEP_CHECKPOINTS = env.number("RUN_KEEP_CHECKPOINTS", 3, least=1)
RUN_MILESTONES = env.number("RUN_MILESTONES", 4, least=0)  # kept to forget documents from
RUN_KEEP_DAYS = env.number("RUN_KEEP_DAYS", 14, least=1)  # folders of failed and stopped runs
RUN_DISK_RESERVE_BYTES = env.number("RUN_DISK_RESERVE_MB", 2048) * 2**20  # runs pause before it
UPLOAD_MAX_BYTES = env.number("UPLOAD_MAX_MB", 512, least=1) * 2**20  # for one file
# JSON: places that corpora may be kept up to date from, by name (docs/operate/sources.md).
SOURCES_FILE = env.text("SOURCES_FILE")
# A folder of lm_eval's tasks, which report cards ask beside the public questions.
EVALUATION_TASKS = env.text("EVALUATION_TASKS")
# Where documents and weights lie: a bucket, or with none named the home folder.
S3_BUCKET = env.text("S3_BUCKET")
S3_ENDPOINT = env.text("S3_ENDPOINT")
S3_PREFIX = env.text("S3_PREFIX")
S3_REGION = env.text("S3_REGION", "us-east-1")
S3_KEY_ID = env.secret("S3_KEY_ID")
S3_SECRET = env.secret("S3_SECRET")
S3_CA_FILE = env.text("S3_CA_FILE")
S3_PATH_STYLE = env.flag("S3_PATH_STYLE", default=True)
# For all originals of one tenant; 0 means the disk alone bounds them.
TENANT_QUOTA_BYTES = env.number("TENANT_QUOTA_GB", 0) * 2**30
DISK_RESERVE_BYTES = env.number("DISK_RESERVE_MB", 256) * 2**20  # never filled by uploads

# ---- notices -------------------------------------------------------------------------------------
EMAIL_HOST = env.text("MAIL_HOST", "")  # empty: nothing is mailed
EMAIL_PORT = env.number("MAIL_PORT", 25, least=1, most=65535)
EMAIL_HOST_USER = env.text("MAIL_USER", "")
EMAIL_HOST_PASSWORD = env.secret("MAIL_PASSWORD")
EMAIL_USE_TLS = env.flag("MAIL_TLS", default=False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("MAIL_FROM", "counterpoint@localhost")
# Host names that webhooks may reach, all of them the site's own; none by default.
WEBHOOK_HOSTS = [name.strip() for name in env.text("WEBHOOK_HOSTS", "").split(",") if name.strip()]

# ---- people --------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "accounts:sign_in"
LOGIN_REDIRECT_URL = "home"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "apps.accounts.passwords.NoNamesOfOurs"},
]
AXES_FAILURE_LIMIT = env.number("SIGN_IN_ATTEMPTS", 5, least=2)
AXES_COOLOFF_TIME = timedelta(minutes=env.number("SIGN_IN_LOCK_MINUTES", 15, least=1))
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_USERNAME_FORM_FIELD = "username"  # the name in the form; the model calls it email
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AXES_LOCKOUT_CALLABLE = "apps.accounts.views.locked_out"
# Before a tenant is known: codes of second factors that were used, attempts that were made.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "site",
    }
}
ACCOUNT_ADAPTER = "apps.accounts.adapters.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
MFA_ADAPTER = "apps.accounts.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_FORMS = {
    "add_webauthn": "apps.accounts.passkeys.AddForm",
    "authenticate_webauthn": "apps.accounts.passkeys.SecondFactorForm",
    "edit_webauthn": "apps.accounts.passkeys.RenameForm",
    "login_webauthn": "apps.accounts.passkeys.SignInForm",
    "reauthenticate_webauthn": "apps.accounts.passkeys.AgainForm",
}
MFA_TOTP_ISSUER = "Counterpoint"
SOCIALACCOUNT_ADAPTER = "apps.accounts.adapters.ProviderAdapter"
SOCIALACCOUNT_LOGIN_ON_GET = True  # a form's answer may not lead to another host under our CSP
SOCIALACCOUNT_AUTO_SIGNUP = True
SOCIALACCOUNT_STORE_TOKENS = False
SSO_TENANT = env.text("SSO_TENANT")  # where people of the provider belong; empty: curators add them
OIDC_SERVER_URL = env.text("OIDC_SERVER_URL")
OIDC_APPS: list[dict[str, Any]] = (
    [
        {
            "provider_id": "sso",
            "name": env.text("OIDC_NAME", "your organisation"),
            "client_id": env.text("OIDC_CLIENT_ID", "counterpoint"),
            "secret": env.secret("OIDC_CLIENT_SECRET"),
            "settings": {"server_url": OIDC_SERVER_URL},
        }
    ]
    if OIDC_SERVER_URL
    else []
)
SAML_APPS = samlfile.apps(env.text("SAML_FILE"))
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {"APPS": OIDC_APPS},
    "saml": {"APPS": SAML_APPS},
}
API_KEY_DAYS = env.number("API_KEY_DAYS", 365, least=1)

# ---- the browser ---------------------------------------------------------------------------------
SELF, NONE = "'self'", "'none'"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
# Other hosts learn nothing. Not `no-referrer`: under it browsers send forms with `Origin: null`,
# which is refused as a forgery.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31536000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_SSL_REDIRECT = False  # the proxy in front does it; readiness probes speak plain HTTP
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
if HTTPS:  # browsers then take them from this host alone
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
    LANGUAGE_COOKIE_NAME = "__Host-django_language"
# From the moment of signing in, and from the last request; 0 minutes: silence ends nothing.
SESSION_COOKIE_AGE = env.number("SESSION_HOURS", 12, least=1) * 3600
SESSION_IDLE_SECONDS = env.number("SESSION_IDLE_MINUTES", 120) * 60
CSRF_TRUSTED_ORIGINS = [SITE_URL]
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

FRONTEND_DIST = PLATFORM / "frontend" / "dist"
STATIC_URL = "/static/"
STATIC_ROOT = HOME / "static"
STATICFILES_DIRS = [FRONTEND_DIST] if FRONTEND_DIST.is_dir() else []
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
DJANGO_VITE = {"default": {"dev_mode": False, "manifest_path": FRONTEND_DIST / "manifest.json"}}
FILE_UPLOAD_HANDLERS = ["counterpoint.nameless.NamelessFileUploadHandler"]
DATA_UPLOAD_MAX_NUMBER_FILES = 1000  # in one request; the page sends more in batches
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5000

# ---- words, time, logs ---------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]  # the catalogues that are whole
LOCALE_PATHS = [PLATFORM / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.text("TIME_ZONE", "UTC")
LOG_LEVEL = env.text("LOG_LEVEL", "INFO", among=("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = env.text("LOG_FORMAT", "json", among=("json", "text"))
LOGGING_CONFIG = None  # counterpoint.log does it

# ---- being watched -------------------------------------------------------------------------------
METRICS_ADDRESS = env.text("METRICS_ADDRESS", "127.0.0.1")
METRICS_PORT = env.number("METRICS_PORT", 0, most=65535)  # 0: no figures are offered
ALIVE_FILE = env.text("ALIVE_FILE")  # touched by whatever answers no HTTP; empty: not

if RUN_HEARTBEAT_SECONDS * 2 > RUN_LEASE_SECONDS:
    raise InputError(
        "setting.value",
        "RUN_LEASE_SECONDS must be at least twice RUN_HEARTBEAT_SECONDS: a late beat loses a run.",
    )
