# ruff: noqa: PLC0415 - every command imports what it needs, so that `recado --help` need not wait for it
"""The commands for what runs: look at lanes, pause them, and see to what could not be read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.terminal import INTERRUPTED, fail, run_until_signal, say

dead = typer.Typer(no_args_is_help=True, help="Dead letters: list what could not be read, and send it again.")

Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Whose admin port is asked, and its token.")
]
Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        metavar="URL",
        callback=lambda urls: urls and [url.rstrip("/") for url in urls],
        help="Of an admin port, http://127.0.0.1:9464; may be repeated.",
    ),
]
Lane = Annotated[str | None, typer.Argument(metavar="LANE", show_default=False)]
Campaign = Annotated[str | None, typer.Option(help="Only this campaign, on all lanes; without a LANE.")]
Tenant = Annotated[str, typer.Option(help="Whose --campaign it is; without, that of no tenant.")]
Template = Annotated[
    str | None, typer.Option(metavar="NAME/LANGUAGE", help="Only this template of the lane, such as otp/es_CO.")
]
ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration, a TOML file.")]
Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="[NUMBER]...", help="Those with these numbers; none: all.")
]
Topic = Annotated[str, typer.Option(help="Only what was in this topic.")]
Reason = Annotated[str, typer.Option(metavar="REGEX", help="Only those with such a reason.")]
Since = Annotated[float, typer.Option(metavar="HOURS", min=0, help="Only of the last so many hours; 0: all there are.")]


def lanes(
    config: Config = None,
    url: Urls = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: what each worker says, as JSON.")] = False,
) -> None:
    """Show what every lane does, over all workers: state, rates, binds, what waits.

    Asks the admin ports that are named, or those of the configuration:
    from its port up to the last that is there. Exit code 1 if no
    worker answers.
    """
    from gateway.cli import lanes as shown
    from gateway.cli import workers

    run_until_signal(shown.show(url or (), workers.deployment_of(config, url), as_json))


def top(
    config: Config = None,
    url: Urls = None,
    every: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="Between two looks.")] = 2.0,
    looks: Annotated[int, typer.Option(min=0, help="End after so many; 0: at Ctrl-C.")] = 0,
) -> None:
    """Watch lanes: rates, binds, what waits, quality; over all workers, until Ctrl-C.

    Where there is no terminal each look is printed below the last.
    """
    from gateway.cli import top as watching
    from gateway.cli import workers

    run_until_signal(watching.watch(url or (), workers.deployment_of(config, url), every, looks))


def pause(
    lane: Lane = None,
    campaign: Campaign = None,
    tenant: Tenant = "",
    template: Template = None,
    config: Config = None,
    url: Urls = None,
) -> None:
    """Send nothing more of a lane, a campaign or a template, on all workers, until `recado resume`.

    It outlasts restarts. Binds stay up, and what is queued stays queued.
    Exit code 1 if it could not be done.
    """
    _act("pause", _subject(lane, campaign, tenant, template), config, url)


def resume(
    lane: Lane = None,
    campaign: Campaign = None,
    tenant: Tenant = "",
    template: Template = None,
    config: Config = None,
    url: Urls = None,
) -> None:
    """Go on with what `recado pause` has paused.

    A lane goes on at once. What stepped aside of a campaign or a template
    comes back within the time for which that was paused, 15 minutes at most.
    Exit code 1 if it was not paused, or could not be resumed.
    """
    _act("resume", _subject(lane, campaign, tenant, template), config, url)


@dead.command("list")
def list_(
    config: ConfigFile,
    numbers: Numbers = None,
    topic: Topic = "",
    reason: Reason = "",
    since: Since = 0.0,
    show: Annotated[bool, typer.Option("--show", help="Their values too, which may hold numbers and texts.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object a line.")] = False,
) -> None:
    """List dead letters: number, time, where the record was, and why it could not be read."""
    from gateway.cli import dead as letters
    from gateway.cli import mistakes

    wanted = letters.wanted(numbers or (), topic, reason, since)
    loaded = mistakes.load(config)
    with mistakes.explained(loaded):
        if run_until_signal(letters.show(loaded, wanted, show, as_json)) is None:
            raise typer.Exit(INTERRUPTED)


@dead.command()
def replay(
    config: ConfigFile,
    numbers: Numbers = None,
    topic: Topic = "",
    reason: Reason = "",
    since: Since = 0.0,
    to_jobs: Annotated[bool, typer.Option("--to-jobs", help="Into the jobs topic, wherever they were.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Without asking.")] = False,
) -> None:
    """Put dead letters back where they were, or into the jobs topic, key and value as they were.

    The letters stay where they are. What is sent twice is known by its
    message_id, as long as claims are kept. Exit code 1 if one could not be
    sent, because it had been cut when it was written down.
    """
    from gateway.cli import dead as letters
    from gateway.cli import mistakes

    wanted = letters.wanted(numbers or (), topic, reason, since)
    loaded = mistakes.load(config)
    with mistakes.explained(loaded):
        found = run_until_signal(letters.read(loaded, wanted))
        if found is None:
            raise typer.Exit(INTERRUPTED)
        whole = letters.whole(found)
        if not yes:
            letters.confirm(whole, loaded.kafka.jobs_topic if to_jobs else "")
        if run_until_signal(letters.send(loaded, whole, to_jobs)) is None:
            raise typer.Exit(INTERRUPTED)
    say(f"recado: {len(whole)} sent again")
    if len(whole) < len(found):
        raise typer.Exit(1)


def _act(what: str, subject: tuple[str, str], config: Path | None, url: list[str] | None) -> None:
    from gateway.cli import workers

    path, name = subject
    ours = workers.deployment_of(config, url)
    try:
        done = run_until_signal(workers.act(url or (), ours, f"{path}/{what}"))
    except workers.Unreachable as error:
        fail(str(error))
    except workers.Denied as error:
        fail(f"{name} is not {what}d: {error}")
    if done is None:
        raise typer.Exit(INTERRUPTED)
    say(f"recado: {name} is {what}d")


def _subject(lane: str | None, campaign: str | None, tenant: str, template: str | None) -> tuple[str, str]:
    """Return the path of what is meant and its name, or end the command if that is not one thing."""
    from urllib.parse import quote

    name, _, language = (template or "").rpartition("/")
    stray = (template is not None and not (lane and name and language)) or (tenant and not campaign)
    if bool(lane) == bool(campaign) or stray:
        fail("name a LANE, a LANE and a --template NAME/LANGUAGE, or a --campaign and perhaps its --tenant", 2)
    if campaign:
        whose = f"tenant {tenant}" if tenant else "no tenant"
        return f"/campaigns/{quote(tenant, safe='')}/{quote(campaign, safe='')}", f"campaign {campaign} of {whose}"
    path = quote(lane or "", safe="")
    if template:
        return f"/templates/{path}/{quote(name, safe='')}/{quote(language, safe='')}", f"template {template} of {lane}"
    return f"/lanes/{path}", f"lane {lane}"
