"""Refusals in OpenAI's shape. Knows no request and no model."""

from __future__ import annotations

from typing import Any

from django.http import JsonResponse

from apps.accounts.quotas import Budget

INVALID, DENIED = "invalid_request_error", "authentication_error"
LIMITED, BROKEN = "rate_limit_error", "server_error"
STATUS_KIND = {401: DENIED, 403: "permission_error", 429: LIMITED, 500: BROKEN, 503: BROKEN}


class ApiError(Exception):
    """A request that is turned away, or a stream that ends early.

    param        the field that is wrong, as the client spelled it
    retry_after  seconds after which it is worth asking again
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(status, code)
        self.status, self.code, self.message = status, code, message
        self.param, self.retry_after = param, retry_after

    def body(self) -> dict[str, Any]:
        kind = STATUS_KIND.get(self.status, INVALID)
        told = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": told}

    def response(self) -> JsonResponse:
        answer = JsonResponse(self.body(), status=self.status)
        if self.retry_after is not None:
            answer["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            answer["WWW-Authenticate"] = "Bearer"
        return answer


def no_key() -> ApiError:
    return ApiError(401, "invalid_api_key", "The API key is missing, wrong, expired or revoked.")


def no_model(name: str) -> ApiError:
    """Unknown and forbidden alike: a stranger must not learn which models there are."""
    said = f"The model `{name[:200]}` does not exist, or your key may not use it."
    return ApiError(404, "model_not_found", said, param="model")


def not_for_this(what: str) -> ApiError:
    said = f"This key was not made to {what}. Make another one for it."
    return ApiError(403, "insufficient_scope", said)


def used_up(budget: Budget) -> ApiError:
    """In OpenAI's shape: clients know to wait, and for how long."""
    limit = budget.limit
    said = (
        f"The limit of {limit} for {budget.whom} is used up. Try again in {budget.renews} seconds."
    )
    code = "rate_limit_exceeded" if budget.renews <= 60 else "insufficient_quota"
    return ApiError(429, code, said, retry_after=budget.renews)


def not_running() -> ApiError:
    said = "This model is not running at the moment. Ask again in a few seconds."
    return ApiError(503, "model_not_ready", said, retry_after=5)


def too_large(limit: int) -> ApiError:
    return ApiError(413, "request_too_large", f"The body may have at most {limit} bytes.")
