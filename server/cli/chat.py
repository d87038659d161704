"""``pennyweight chat``: talk to a served model from a terminal."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Console

from .chat_client import ChatClient, ChatError

HELP = "/help shows this, /system TEXT sets the instructions, /reset forgets the conversation, /exit ends (or Ctrl-D); Ctrl-C stops an answer"
WAIT_SECONDS = 600.0


@dataclass(slots=True)
class _Conversation:
    client: ChatClient
    parameters: dict[str, Any]
    system: str | None
    turns: list[dict[str, str]] = field(default_factory=list)

    def ask(self, question: str, console: Console) -> None:
        """Print the answer as it comes, then its speed, and remember both. Ctrl-C keeps what has come. Raises ChatError."""
        asked = {"role": "user", "content": question}
        system = [{"role": "system", "content": self.system}] if self.system else []
        text, whole = "", False
        try:
            with closing(self.client.answer([*system, *self.turns, asked], **self.parameters)) as pieces:
                for piece in pieces:
                    text += piece
                    print(piece, end="", flush=True)
            whole = True
        except KeyboardInterrupt:
            console.print(" [dim](stopped)[/]", end="")
        finally:
            print(flush=True)
        if whole and self.client.speed is not None:
            console.print(str(self.client.speed), style="dim", markup=False)
        if text:
            self.turns += [asked, {"role": "assistant", "content": text}]


def chat(
    question: Annotated[
        str | None, typer.Argument(help="Ask this and end; without it, a conversation.", show_default=False)
    ] = None,
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    model: Annotated[
        str | None, typer.Option(help="Which of its models; by default the first.", show_default=False)
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar=["PENNYWEIGHT_API_KEY", "OPENAI_API_KEY"], show_default=False, help="Its key.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.", show_default=False)] = None,
    temperature: Annotated[float | None, typer.Option(help="By default the model's.", show_default=False)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer in tokens.", show_default=False)] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the server is ready.")] = False,
) -> None:
    """Talk to a model that is being served, here or elsewhere; speed is shown after each answer."""
    console = Console(stderr=True, highlight=False)
    # The variable may list several keys, as a server takes them; any of them will do.
    client = ChatClient(url, api_key.partition(",")[0].strip() if api_key else None)
    try:
        if wait:
            client.wait_until_ready(WAIT_SECONDS)
        names = [model] if model else client.models()
        if not names:
            raise ChatError(f"the server at {url} has no model that is ready; see {url}/ready, or give --wait")
        parameters = {"model": names[0], "temperature": temperature, "max_tokens": max_tokens}
        given = {name: value for name, value in parameters.items() if value is not None}
        conversation = _Conversation(client, given, system)
        if question is None and not sys.stdin.isatty():
            question = sys.stdin.read().strip()
        if question is not None:
            conversation.ask(question, console)
            return
        console.print(f"{names[0]} at {url}", style="bold", markup=False)
        console.print(HELP, style="dim", markup=False)
        _converse(conversation, console)
    except ChatError as error:
        print(f"pennyweight: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _converse(conversation: _Conversation, console: Console) -> None:
    while True:
        try:
            line = console.input("[bold]>[/] ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        command, _, rest = line.partition(" ")
        if command in ("/exit", "/quit"):
            return
        if command == "/reset":
            conversation.turns.clear()
        elif command == "/system":
            conversation.system = rest.strip() or None
        elif command.startswith("/"):
            if command != "/help":
                console.print(f"there is no command {command}", style="red", markup=False)
            console.print(HELP, style="dim", markup=False)
        elif line:
            try:
                conversation.ask(line, console)
            except ChatError as error:
                # The server's words may hold brackets, which aren't markup.
                console.print(str(error), style="red", markup=False)
