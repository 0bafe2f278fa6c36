"""The token of a CI job or cloud workload as client assertion, found by `id` (the extra ``ambient``)."""

from __future__ import annotations

from requests_cc_token.exceptions import ConfigurationError, TokenRequestError, one_line
from requests_cc_token.keyword_arguments import checked_text
from requests_cc_token.secret_source import SecretSource

from .assertions import ClientAssertion


class AmbientToken(SecretSource):
    """What the machine vouches for this process with, asked for at each use.

    Its identity is its own: what the token says is not known before, so its tokens stay in this process.
    """

    description = "the machine's own identity"

    def __init__(self, audience: str) -> None:
        try:
            import id as ambient
        except ImportError:
            raise ConfigurationError("AmbientAssertion needs id: pip install requests_cc_token[ambient]") from None
        self._ambient = ambient
        self._audience = audience

    def read(self) -> str:
        """A new token for the audience."""
        try:
            token = self._ambient.detect_credential(self._audience)
        except self._ambient.GitHubOidcPermissionCredentialError:
            raise TokenRequestError(
                "GitHub gives this job no identity; its workflow needs `permissions: id-token: write`", transient=False
            ) from None
        except self._ambient.IdentityError as error:
            # What follows is the answer itself, which may hold anything.
            said = one_line(str(error).partition(", body=")[0], 200)
            raise TokenRequestError(f"the machine's own identity could not be had ({said})") from None
        except Exception as error:
            raise TokenRequestError(
                f"the machine's own identity could not be had ({type(error).__name__})"
            ) from None
        if token is None:
            raise TokenRequestError(
                "this machine has no identity of its own; known are jobs of GitHub, GitLab, Buildkite and CircleCI, "
                "and workloads of Google Cloud",
                transient=False,
            )
        return str(token)


class AmbientAssertion(ClientAssertion):
    """Authenticates by the identity token that the platform gives to a CI job or cloud workload (RFC 7523 section 2.2).

    Works in GitHub Actions, GitLab, Buildkite and CircleCI jobs and on Google Cloud. No secret is needed: a new
    identity token is requested from the platform for each token request and sent as a client assertion. ``audience`` is
    the ``aud`` claim that the token service expects in it.

    Raises ``ConfigurationError``, also if the package `id` is missing (``pip install requests_cc_token[ambient]``).
    """

    method = "ambient_assertion"

    def __init__(self, audience: str) -> None:
        checked_text(audience, "AmbientAssertion: audience")
        super().__init__(AmbientToken(audience))  # type: ignore[arg-type]  # users give functions or files
        #: The ``aud`` claim of the identity tokens.
        self.audience = audience

    def __repr__(self) -> str:
        return f"AmbientAssertion(audience={self.audience!r})"
