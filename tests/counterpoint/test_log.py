"""Logs carry ids and numbers, never content or secrets."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

from counterpoint.log import redact

SECRET = "cp_0a1b2c3d4e5f_abcdefghijklmnop"


def test_names_and_shapes_of_secrets_are_hidden() -> None:
    told = redact(
        logging.getLogger(),
        "info",
        {
            "event": "chat.ask",
            "prompt": "what is the margin?",
            "tokens": 12,
            "why": f"bad key {SECRET}",
            "url": "postgres://app_rw:hunter2@127.0.0.1/x",
        },
    )
    assert told["prompt"] == "[hidden]"
    assert told["tokens"] == 12
    assert SECRET not in str(told)
    assert "hunter2" not in str(told)


def test_lines_are_json_with_the_context_and_without_the_secret() -> None:
    script = (
        "import django; django.setup()\n"
        "import structlog, logging\n"
        "structlog.contextvars.bind_contextvars(tenant='t-1', run='r-1')\n"
        "structlog.get_logger('x').warning('run.reaped', password='hunter2')\n"
        f"logging.getLogger('other').warning('a key %s', '{SECRET}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    ours, theirs = done.stderr.strip().splitlines()
    for word in ('"tenant": "t-1"', '"run": "r-1"', '"event": "run.reaped"', '"level": "warning"'):
        assert word in ours
    assert "hunter2" not in done.stderr
    assert "abcdefghij" not in theirs


def test_what_others_log_quotes_neither_address_nor_argument_nor_exception() -> None:
    sentence = "the margin is eleven percent"
    script = (
        "import django; django.setup()\n"
        "import logging, structlog\n"
        "from django.test import Client\n"
        "from django.conf import settings\n"
        "settings.ALLOWED_HOSTS += ['testserver']\n"
        "logging.getLogger().setLevel('DEBUG')\n"
        f"Client().get('/healthz/{sentence}?q={sentence}')\n"
        "import celery\n"
        "app = celery.current_app\n"
        "@app.task(name='housekeeping.fail')\n"
        "def fail(words): raise ValueError(words)\n"
        f"fail.apply(args=['{sentence}'])\n"
        "try:\n"
        f"    raise ValueError('{sentence}')\n"
        "except ValueError:\n"
        "    structlog.get_logger('x').exception('run.broke')\n"
        "    logging.getLogger('y').exception('theirs')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=True,
    )
    for word in ('"event": "Not Found"', '"event": "task.raised"', "ValueError at", "run.broke"):
        assert word in done.stderr, done.stderr
    assert "eleven" not in done.stderr
