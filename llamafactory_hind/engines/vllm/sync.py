"""How servers get the weights of a policy: an adapter under a new name, or the whole model from a folder while they pause.

Both were tried against vLLM 0.32. An adapter is never loaded over another one: the server would answer from its prefix cache of the
old one. Weights are never reloaded without a pause: the server would answer from old caches, and die at the next picture.
"""

from pathlib import Path
from typing import Protocol

from .client import CallError, Client, Server
from .protocol import Weights


OURS = "hind-"  # labels of weights that such a run has set
LOADING = "/loading"  # ending of the label while weights are being replaced: no completion may carry it
FREE = "default"  # the label of a server that nobody has changed


class Publisher(Protocol):
    """A way to give a server weights."""

    def weights(self, label: str) -> Weights:
        """Return how a request names the weights with this label, and what an answer says of them."""

    async def publish(self, server: Server, label: str, folder: Path) -> None:
        """Give a server the weights in a folder; nothing is done where it has them.

        Raises:
            CallError: it does not take them.
        """

    async def retire(self, server: Server, label: str) -> None:
        """Take weights away that nobody asks for any more."""


class LoraPublisher:
    """Loads each version of the adapter under a name of its own: no pause, and requests under way go on with theirs.

    Args:
        client: the way to the servers.
    """

    def __init__(self, client: Client) -> None:
        """Send nothing yet."""
        self.client = client

    def weights(self, label: str) -> Weights:
        """Return them; see `Publisher`. An adapter that is not there is a 404, so the name is proof enough."""
        return Weights(label, None, label)

    async def publish(self, server: Server, label: str, folder: Path) -> None:
        """Load an adapter; see `Publisher`."""
        body = {"lora_name": label, "lora_path": str(folder)}
        try:
            await self.client.call(server, "POST", "/v1/load_lora_adapter", body)
        except CallError as error:
            if error.status == 400 and "already" in error.reason:
                return
            raise _explained(error, 404, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True", "--enable-lora") from None

    async def retire(self, server: Server, label: str) -> None:
        """Unload an adapter; see `Publisher`."""
        await self.client.call(server, "POST", "/v1/unload_lora_adapter", {"lora_name": label})


class FullPublisher:
    """Replaces the weights of a server while it pauses; its caches are empty afterwards.

    Args:
        client: the way to the servers.
        model: name under which the servers serve it.
        run: beginning of the labels of this run.
    """

    def __init__(self, client: Client, *, model: str, run: str) -> None:
        """Send nothing yet."""
        self.client, self.model, self.run = client, model, run

    def weights(self, label: str) -> Weights:
        """Return them; see `Publisher`."""
        return Weights(self.model, label, label)

    async def publish(self, server: Server, label: str, folder: Path) -> None:
        """Wait for requests under way, load, label, go on; see `Publisher`."""
        found = await self._label(server)
        if found == label:
            return
        if found.startswith(OURS) and not found.startswith(self.run):
            raise CallError(
                f"{server.url} has the weights {found} of another run. Two runs cannot share a server with `rollout_sync: full`: "
                "give each its own, or restart the server if that run has ended",
                retryable=False,
            )
        await self.client.call(server, "POST", "/pause?mode=wait")
        try:
            await self._name(server, label + LOADING)
            body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            await self.client.call(server, "POST", "/collective_rpc", body)
            await self._name(server, label)
        finally:
            await self.client.call(server, "POST", "/resume")

    async def retire(self, server: Server, label: str) -> None:
        """Do nothing: new weights have taken the place of the old ones; see `Publisher`."""

    async def release(self, server: Server) -> None:
        """Let another run use the server."""
        await self._name(server, FREE)

    async def _label(self, server: Server) -> str:
        try:
            answer = await self.client.call(server, "GET", "/weight_info")
        except CallError as error:
            raise _explained(error, 404, "VLLM_SERVER_DEV_MODE=1") from None
        return str((answer or {}).get("weight_version"))

    async def _name(self, server: Server, label: str) -> None:
        await self.client.call(server, "POST", "/update_weight_version", {"new_version": label})


def _explained(error: CallError, status: int, *options: str) -> CallError:
    """Add what a server lacks that does not know a route."""
    if error.status != status:
        return error
    needed = " and ".join(f"`{option}`" for option in options)
    reason = f"{error.reason}. Start the server with {needed}; docs/rollouts.md shows its command line"
    return CallError(reason, status=status, retryable=False)
