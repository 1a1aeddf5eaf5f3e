"""Define the commands of ``airflow customerly``. Every ``airflow`` command imports this: keep it light."""

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
_CSV = Arg(("--csv",), action="store_true", help="print CSV")  # type: ignore[no-untyped-call]
_RUNS = Arg(  # type: ignore[no-untyped-call]
    ("--runs",), action="store_true", help="list the newest runs of each export and sync instead"
)
_LAST = Arg(  # type: ignore[no-untyped-call]
    ("--last",), type=int, metavar="N", help="with --runs: how many runs of each (default: 30)"
)
_RUN = Arg(  # type: ignore[no-untyped-call]
    ("run",),
    nargs="?",
    metavar="RUN",
    help="id of a run, or 'rejects' from its result (default: the newest run of each sync)",
)
_PLAN = Arg(  # type: ignore[no-untyped-call]
    ("plan",), metavar="PLAN", help="'plan' from the result of a dry run, such as plans/<run>.parquet"
)

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

_UNDONE = Arg(  # type: ignore[no-untyped-call]
    ("run",), metavar="RUN", help="id of the run to undo, or the 'undo' of its result"
)
_COMPARE_WITH = Arg(  # type: ignore[no-untyped-call]
    ("--compare-with",),
    metavar="EXPORT",
    help="path of an export made since the run: shows what was edited in Customerly since",
)
_ON_EDITED = Arg(  # type: ignore[no-untyped-call]
    ("--on-edited",),
    choices=("overwrite", "keep", "reject"),
    default="overwrite",
    help="what is done with values that were edited since the run (default: overwrite)",
)
_WITH_CONN_ID = Arg(  # type: ignore[no-untyped-call]
    ("--conn-id",),
    default="customerly_default",
    metavar="CONN_ID",
    help="connection of type customerly (default: customerly_default)",
)

_STATE_COMMANDS = [
    ActionCommand(
        name="show",
        help="Show what is committed, when, its size and active runs; or list the newest runs",
        func=lazy_load_command(f"{_COMMANDS}.state_command.show"),
        args=(_PATH, _PATH_CONN_ID, _RUNS, _LAST, _JSON, _CSV),
    ),
    ActionCommand(
        name="rejects",
        help="List the rows that a sync did not deliver, with reasons; shows personal data",
        description="List the rows that a run of a sync did not deliver, with reasons. Shows personal data.",
        func=lazy_load_command(f"{_COMMANDS}.rows_command.rejects"),
        args=(_PATH, _RUN, _PATH_CONN_ID, _JSON, _CSV),
    ),
    ActionCommand(
        name="plan",
        help="List what a plan would send; shows personal data",
        description=(
            "List what a plan, made by a sync with dry_run=True, would do with each row. An altered plan is "
            "refused. Shows personal data; --json and --csv include everything that would be sent."
        ),
        func=lazy_load_command(f"{_COMMANDS}.rows_command.plan"),
        args=(_PATH, _PLAN, _PATH_CONN_ID, _JSON, _CSV),
    ),
    ActionCommand(
        name="verify",
        help="Read every committed file and compare it with its checksum; exit with 1 if one differs",
        func=lazy_load_command(f"{_COMMANDS}.state_command.verify"),
        args=(_PATH, _PATH_CONN_ID, _JSON),
    ),
    ActionCommand(
        name="reset",
        help="Remove everything, after a confirmation and unless a run is active",
        description=(
            "Remove every file of the exports and syncs at PATH. The next export is a full refresh, and the "
            "next sync sends every row again. Nothing in Customerly changes."
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
            "Send fewer than 20 read-only requests, and print for each assumption whether it holds and what "
            "the provider does about it. Shows no contact and no token. Exit with 1 if the token does not "
            "work."
        ),
        func=lazy_load_command(f"{_COMMANDS}.check_command.check"),
        args=(_CONN_ID, _JSON),
    ),
    ActionCommand(
        name="undo",
        help="Make the plan that puts back what a run of a sync changed; nothing is sent",
        description=(
            "Makes the plan that puts back what a run of a sync changed, and says what cannot be put back. "
            "The run must have been made with compare_with. Nothing is sent: apply the plan with plan_path."
        ),
        func=lazy_load_command(f"{_COMMANDS}.undo_command.undo"),
        args=(_PATH, _UNDONE, _PATH_CONN_ID, _COMPARE_WITH, _ON_EDITED, _WITH_CONN_ID, _JSON),
    ),
    GroupCommand(
        name="state",
        help="Show, list, verify or reset the files of exports and syncs",
        subcommands=_STATE_COMMANDS,
    ),
]


def get_customerly_cli_commands() -> list[GroupCommand]:
    """Return the commands. The provider's metadata names this function under ``cli``."""
    return [
        GroupCommand(
            name="customerly",
            help="Check a Customerly account, or manage the files of exports and syncs",
            subcommands=COMMANDS,
        )
    ]
