"""The commands of ``airflow customerly``: read at each start of Airflow's command line, so kept light."""

from __future__ import annotations

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

_COMMANDS = "airflow_provider_customerly.cli"

_CONN_ID = Arg(  # type: ignore[no-untyped-call]
    ("conn_id",),
    nargs="?",
    default="customerly_default",
    metavar="CONN_ID",
    help="connection of type customerly (default: customerly_default)",
)
_JSON = Arg(("--json",), action="store_true", help="print JSON")  # type: ignore[no-untyped-call]

COMMANDS = [
    ActionCommand(
        name="check",
        help="Compare your account with what this provider takes for true of the API",
        description=(
            "Sends fewer than 20 requests, all of them reads, and prints for each assumption whether it "
            "holds, and what the provider will do about it. Shows no contact and no token. Ends with 1 when "
            "the token does not work."
        ),
        func=lazy_load_command(f"{_COMMANDS}.check_command.check"),
        args=(_CONN_ID, _JSON),
    ),
]


def get_customerly_cli_commands() -> list[GroupCommand]:
    """Return the commands; the entry ``cli`` of the provider's metadata names this function."""
    return [
        GroupCommand(
            name="customerly",
            help="Check a Customerly account, look after exports and the state of syncs",
            subcommands=COMMANDS,
        )
    ]
