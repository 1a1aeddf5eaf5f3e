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

_PATH = Arg(  # type: ignore[no-untyped-call]
    ("path",),
    metavar="PATH",
    help="path of an export or state_path of a sync, or a folder in it: /data/crm, s3://conn_id@bucket/crm",
)
_PATH_CONN_ID = Arg(  # type: ignore[no-untyped-call]
    ("--path-conn-id",), metavar="CONN_ID", help="connection for PATH, unless the path names one"
)
_YES = Arg(  # type: ignore[no-untyped-call]
    ("-y", "--yes"), action="store_true", help="do not ask for confirmation"
)

_STATE_COMMANDS = [
    ActionCommand(
        name="show",
        help="Tell what is committed, from when, how big, and who is at work",
        func=lazy_load_command(f"{_COMMANDS}.state_command.show"),
        args=(_PATH, _PATH_CONN_ID, _JSON),
    ),
    ActionCommand(
        name="verify",
        help="Read every committed file and compare it with its checksum; ends with 1 when one differs",
        func=lazy_load_command(f"{_COMMANDS}.state_command.verify"),
        args=(_PATH, _PATH_CONN_ID, _JSON),
    ),
    ActionCommand(
        name="reset",
        help="Remove all of it, after a confirmation and unless somebody is at work",
        description=(
            "Removes every file of the exports and syncs at PATH. The next export is a full one, the next "
            "sync sends every row again. Nothing in Customerly changes."
        ),
        func=lazy_load_command(f"{_COMMANDS}.state_command.reset"),
        args=(_PATH, _PATH_CONN_ID, _YES),
    ),
]

COMMANDS: list[ActionCommand | GroupCommand] = [
    ActionCommand(
        name="check",
        help="Check which assumptions about the API hold for your account",
        description=(
            "Sends fewer than 20 requests, all of them reads, and prints for each assumption whether it "
            "holds, and what the provider will do about it. Shows no contact and no token. Ends with 1 when "
            "the token does not work."
        ),
        func=lazy_load_command(f"{_COMMANDS}.check_command.check"),
        args=(_CONN_ID, _JSON),
    ),
    GroupCommand(
        name="state",
        help="Show, verify or reset the files of exports and syncs",
        subcommands=_STATE_COMMANDS,
    ),
]


def get_customerly_cli_commands() -> list[GroupCommand]:
    """Return the commands; the entry ``cli`` of the provider's metadata names this function."""
    return [
        GroupCommand(
            name="customerly",
            help="Check a Customerly account, or look after the files of exports and syncs",
            subcommands=COMMANDS,
        )
    ]
