"""A person's own Kaggle account, through the Python interface of Kaggle's client: what it is asked, and its refusals.

What the client prints is passed on as lines; neither lines nor errors ever hold credentials or signed addresses.
"""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from housebrain_core.errors import ConfigError, MachineError
from housebrain_core.texts import say

READY_SECONDS = 900
"""Within which a dataset of a few MB has to be ready."""
POLL_SECONDS = 5
MISSING = (403, 404)
"""How Kaggle answers where a dataset or notebook does not exist, or is somebody else's."""
BAR = "%|"
"""What is in a line of the client's progress bars, which nobody sees move."""
FAILED = ("failed", "deleted")
"""States of a dataset that will never be ready."""
ADVICE = {
    401: "Your credentials are not accepted. Log in again: kaggle auth login",
    403: "Your account may not do that. GPU and Internet need a phone number, verified once at kaggle.com/settings; "
    "and the folders have to be your own.",
    404: "It is not there. Push it first.",
    429: "Too many requests. Try again in a few minutes.",
}
LOG_IN = (
    "you are not logged in to Kaggle. Log in once with: kaggle auth login (or put a token from "
    "kaggle.com/settings/api into ~/.kaggle/access_token)"
)


class KaggleError(MachineError):
    """Kaggle refused something, or could not be reached.

    Args:
        message: one sentence, and what to do.
        code: of the answer; None without one.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Account:
    """An account that is logged in.

    Args:
        client: a `KaggleApi` of kaggle 2.2.5 or newer that has authenticated.
        report: gets each line that the client prints.
    """

    def __init__(self, client: Any, report: Callable[[str], None] = say) -> None:
        self.client = client
        self.report = report

    @property
    def user(self) -> str:
        """The name of the account."""
        return self.client.config_values["username"]

    def ask(self, what: str, method: str, *arguments: Any, **settings: Any) -> Any:
        """Calls a method of the client.

        Args:
            what: is asked, for the message of a refusal, such as "the state of alice/some-notebook".
            method: of the client.
            arguments: of the method.
            settings: of the method.

        Returns:
            What the client returns.

        Raises:
            KaggleError: Kaggle refused it, could not be reached, or the client's own checks failed.
        """
        said = io.StringIO()
        try:
            with redirect_stdout(said), redirect_stderr(said), self._one_sentence(what):
                return getattr(self.client, method)(*arguments, **settings)
        finally:
            for line in said.getvalue().splitlines():
                if line.strip() and BAR not in line:
                    self.report(f"kaggle: {self._hide(line)}")

    @contextmanager
    def _one_sentence(self, what: str) -> Iterator[None]:
        """Makes one sentence of an error of the client; its texts may hold addresses that are as good as a password."""
        try:
            yield
        except ValueError as error:
            if getattr(error, "response", None) is None and not isinstance(error, OSError):
                raise KaggleError(f"{what}: the client refuses it: {self._hide(str(error))}") from None
            raise KaggleError(f"{what}: Kaggle's answer cannot be read.") from None
        except OSError as error:  # all errors of requests are such
            if error.errno and error.filename:  # a file of this computer
                raise
            response = getattr(error, "response", None)
            if response is None:
                raise KaggleError(
                    f"{what}: kaggle.com cannot be reached ({type(error).__name__}). Look at your connection, and give "
                    "the same command again."
                ) from None
            code = response.status_code
            advice = ADVICE.get(code, "Try again later.")
            raise KaggleError(f"{what}: Kaggle answers {code}. {advice}", code) from None

    def _hide(self, text: str) -> str:
        """A text without the account's secrets."""
        for name in ("key", "token"):
            secret = self.client.config_values.get(name)
            text = text.replace(secret, "***") if secret else text
        return text

    def dataset_state(self, reference: str) -> str | None:
        """The state of a dataset in one word, such as ready; None where it does not exist."""
        try:
            return self.ask(f"the dataset {reference}", "dataset_status", reference)
        except KaggleError as error:
            if error.code in MISSING:
                return None
            raise

    def create_dataset(self, folder: Path, reference: str) -> None:
        """Uploads a folder as a new private dataset."""
        answer = self.ask(f"the new dataset {reference}", "dataset_create_new", str(folder), quiet=True)
        self._refuse(f"the new dataset {reference}", answer.error if answer.status != "ok" else "")

    def update_dataset(self, folder: Path, reference: str, notes: str) -> None:
        """Uploads a folder as the next version of a dataset."""
        what = f"a new version of the dataset {reference}"
        answer = self.ask(what, "dataset_create_version", str(folder), notes, quiet=True, delete_old_versions=True)
        self._refuse(what, answer.error if answer.status != "ok" else "")

    def wait_until_ready(self, reference: str) -> None:
        """Returns once a dataset can be attached; it takes Kaggle seconds to minutes.

        Raises:
            KaggleError: Kaggle could not read it, or it takes too long.
        """
        give_up = time.monotonic() + READY_SECONDS
        while (state := self.dataset_state(reference)) != "ready":
            if state in FAILED or time.monotonic() > give_up:
                raise KaggleError(
                    f"the dataset {reference} is not ready (its state is {state or 'unknown'}). Look at "
                    f"https://www.kaggle.com/datasets/{reference}, and give the same command again."
                )
            time.sleep(POLL_SECONDS)

    def kernel_state(self, reference: str) -> tuple[str | None, str]:
        """State and failure of the newest run of a notebook.

        Returns:
            queued, running, complete, error, cancel_requested, cancel_acknowledged, or new_script, which never ran;
            None where there is no such notebook. And what failed, if anything did.
        """
        try:
            answer = self.ask(f"the notebook {reference}", "kernels_status", reference)
        except KaggleError as error:
            if error.code in MISSING or "Cannot access kernel" in str(error):  # how the client words a 403
                return None, ""
            raise
        return answer.status.name.lower(), self._hide(answer.failure_message or "")

    def push_kernel(self, folder: Path, run: bool, seconds: int | None = None) -> str:
        """Saves a notebook with its settings and inputs, and runs it if that is wanted.

        Args:
            folder: of the notebook.
            run: whether it is run, which uses up quota.
            seconds: after which Kaggle ends the run; by default only when its session does.

        Returns:
            Where to look at it.
        """
        what = f"the notebook in {folder}"
        limit = str(seconds) if seconds else None
        answer = self.ask(what, "kernels_push", str(folder), timeout=limit, no_run=not run)
        self._refuse(what, answer.error)
        if answer.invalid_dataset_sources:
            self._refuse(what, f"it does not know the inputs {', '.join(answer.invalid_dataset_sources)}")
        if answer.invalid_kernel_sources:
            self.report(f"kaggle: no earlier output is attached: {', '.join(answer.invalid_kernel_sources)} has none")
        return answer.url

    def fetch_output(self, reference: str, folder: Path, pattern: str) -> list[Path]:
        """Downloads those files of a notebook's newest output whose names a pattern is found in, and its log.

        Returns:
            The files but the log, sorted.
        """
        what = f"the output of {reference}"
        files, _ = self.ask(what, "kernels_output", reference, str(folder), file_pattern=pattern, page_size=200)
        return sorted(Path(name) for name in files if not name.endswith(".log"))

    def describe_quota(self) -> str:
        """How much GPU time is left this week, as Kaggle tells it."""
        try:
            answer = self.ask("the quota", "quota_view")
        except KaggleError as error:
            return f"Kaggle does not tell how much GPU time is left ({error})"
        left = hours_left(answer)
        if left is None:
            return "Kaggle does not tell how much GPU time is left"
        allowed = answer.gpu_quota.total_time_allowed.total_seconds() / 3600
        when = f", until {answer.quota_refresh_time:%a %d %b %H:%M} UTC" if answer.quota_refresh_time else ""
        return f"GPU quota: {left:.1f} of {allowed:.0f} hours left{when}"

    def _refuse(self, what: str, error: str | None) -> None:
        """Raises what Kaggle said in an answer that came through."""
        if error:
            raise KaggleError(f"{what}: Kaggle refuses it: {self._hide(error)}")


def hours_left(answer: Any) -> float | None:
    """GPU hours that are left in an answer about the quota; None where it does not say."""
    quota = answer.gpu_quota
    if quota is None:
        return None
    return max(0.0, (quota.total_time_allowed - quota.time_used).total_seconds() / 3600)


def open_account(report: Callable[[str], None] = say) -> Account:
    """Logs in with the credentials that the kaggle client finds by itself.

    Args:
        report: gets each line that the client prints.

    Returns:
        The account.

    Raises:
        ConfigError: the client is not installed, or finds no credentials.
        KaggleError: kaggle.com cannot be reached.
    """
    said = io.StringIO()  # the client explains at length how to log in; we say it in a sentence
    try:
        with redirect_stdout(said):
            import kaggle  # which logs in when it is imported, if it can

            account = Account(kaggle.api, lambda line: None)
            if "username" not in kaggle.api.config_values:
                account.ask("your account", "authenticate")
    except ImportError as error:
        raise ConfigError(f"this needs Kaggle's client ({error}). Install it: pip install kaggle six") from None
    except SystemExit:
        raise ConfigError(LOG_IN) from None
    return Account(account.client, report)
