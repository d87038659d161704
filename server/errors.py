"""Everything that can go wrong with a request, as a tree.

PennyweightError                 500  server_error
├── InvalidRequest               400  invalid_request_error
│   ├── MissingParameter         400  missing_required_parameter
│   ├── InvalidType              400  invalid_type
│   ├── ContextLengthExceeded    400  context_length_exceeded
│   ├── UnsupportedParameter     400  unsupported_parameter
│   ├── InvalidConstraint        400  invalid_grammar
│   └── BodyTooLarge             413  request_too_large
├── AuthenticationFailed         401  invalid_api_key
├── PermissionDenied             403  permission_denied      the tenant may not do this
├── NotFound                     404  not_found
│   └── ModelNotFound            404  model_not_found
├── NoAnswer                     404  no_answer              what the model answers from has no answer to this
├── MethodNotAllowed             405  method_not_allowed
├── UnsupportedMediaType         415  unsupported_media_type
├── RequestTimeout               408  request_timeout        the client was too slow to send its request
├── DeadlineExceeded             408  deadline_exceeded      the time that the client gave is over; not to be tried again
├── Overloaded                   429  rate_limit_exceeded    a queue or a limit is full; try later
├── EngineFailed                 500  engine_error           the engine could not do this request
├── UpstreamFailed               502  upstream_error         the server behind this one failed, or made no sense
├── UpstreamTimeout              504  upstream_timeout       the server behind this one was silent for too long
├── NotCached                    504  not_cached             only a kept answer was asked for, and there is none
└── Unavailable                  503  service_unavailable    nothing can take the request now
    ├── EngineDead               503  engine_dead            the engine's process ended under the request
    ├── ModelLoading             503  model_loading
    ├── ModelUnavailable         503  model_unavailable      it could not be loaded; the message says why
    └── ShuttingDown             503  shutting_down

Each carries what OpenAI's error object has (message, type, param, code) and the HTTP status it is answered with.
Configuration and model files raise ``ConfigError`` and ``ModelError``, which end a start and never answer a request.
"""

from __future__ import annotations

from typing import ClassVar


class PennyweightError(Exception):
    """Base of all errors that a request can be answered with."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(PennyweightError):
    """The request is not one that can be answered, whatever the server's state."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class MissingParameter(InvalidRequest):
    """A required parameter is not there."""

    code = "missing_required_parameter"


class InvalidType(InvalidRequest):
    """A parameter is of the wrong JSON type."""

    code = "invalid_type"


class ContextLengthExceeded(InvalidRequest):
    """Prompt and requested tokens do not fit the model's context."""

    code = "context_length_exceeded"


class UnsupportedParameter(InvalidRequest):
    """A known parameter that this model or engine cannot honour."""

    code = "unsupported_parameter"


class InvalidConstraint(InvalidRequest):
    """A schema, regex or grammar that does not compile, or not within its limits."""

    code = "invalid_grammar"


class BodyTooLarge(InvalidRequest):
    """The request's body is over the configured size."""

    status = 413
    code = "request_too_large"


class AuthenticationFailed(PennyweightError):
    """No API key, or one that is not known."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class PermissionDenied(PennyweightError):
    """The tenant may not do this: it asks for a tier that isn't its own, or its data would leave."""

    status = 403
    type = "permission_error"
    code = "permission_denied"


class NotFound(PennyweightError):
    """No such path."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """No such model is served here."""

    code = "model_not_found"


class NoAnswer(PennyweightError):
    """What the model answers from has no answer to this. The request is right and the model is well: another one may know.

    A client that asks again is told the same, so it is none of the errors that clients try again after.
    """

    status = 404
    type = "invalid_request_error"
    code = "no_answer"


class MethodNotAllowed(PennyweightError):
    """The path exists, but not for this HTTP method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class UnsupportedMediaType(PennyweightError):
    """The body is not declared as JSON."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class RequestTimeout(PennyweightError):
    """The client was too slow to send its request."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class DeadlineExceeded(PennyweightError):
    """The time that the client gave for the answer is over.

    Not a 504, as a proxy's own limit would be: who sets the limit is the client, and its haste is no failure of the server.
    """

    status = 408
    type = "timeout_error"
    code = "deadline_exceeded"


class Overloaded(PennyweightError):
    """A queue is full; the same request may be taken later."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class EngineFailed(PennyweightError):
    """The engine could not carry out this request; others are unharmed."""

    type = "server_error"
    code = "engine_error"


class UpstreamFailed(PennyweightError):
    """The server that answers for the model failed, refused us, or answered what can't be understood."""

    status = 502
    code = "upstream_error"


class UpstreamTimeout(PennyweightError):
    """The server that answers for the model did not go on in time."""

    status = 504
    code = "upstream_timeout"


class NotCached(PennyweightError):
    """Only a kept answer was asked for, and there is none (RFC 9111, 5.2.1.7)."""

    status = 504
    code = "not_cached"


class Unavailable(PennyweightError):
    """Nothing can take the request now."""

    status = 503
    type = "service_unavailable_error"
    code = "service_unavailable"


class EngineDead(Unavailable):
    """The engine's process ended while it worked on the request."""

    code = "engine_dead"


class ModelLoading(Unavailable):
    """The model is still being loaded."""

    code = "model_loading"


class ModelUnavailable(Unavailable):
    """The model could not be loaded into the memory that there is."""

    code = "model_unavailable"


class ShuttingDown(Unavailable):
    """The server is stopping and its grace period is over."""

    code = "shutting_down"


class ConfigError(Exception):
    """A setting that cannot be used; the message names the setting and what would be right."""


class ModelError(Exception):
    """A model that cannot be loaded; the message says what about it, and what can load it."""
